package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/saved"
)

// maxViewBody is the most that a request to save a view may have, in bytes: the
// state, escaped.
const maxViewBody = 64 << 10

func (s *server) routeViews() {
	s.handle("GET /api/v1/views", s.getViews)
	s.handle("POST /api/v1/views", s.postView)
	s.handle("PUT /api/v1/views/{name}", s.putView)
	s.handle("DELETE /api/v1/views/{name}", s.deleteView)
	s.handle("GET /views/{name}", s.openView)
}

// viewsAnswer lists the saved views by name.
type viewsAnswer struct {
	Views []saved.View `json:"views"`
}

// viewBody is what a client sends to save a view.
type viewBody struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// kept are the saved views, or why there are none.
func (s *server) kept() (*saved.Store, error) {
	if s.Views == nil {
		return nil, &Error{Code: CodeUnavailable, Message: "this server keeps no views; its log says why"}
	}
	return s.Views, nil
}

// viewError gives the errors of views their codes.
func viewError(err error) error {
	var invalid *saved.InvalidError
	switch {
	case errors.Is(err, saved.ErrNotFound):
		return &Error{Code: CodeNotFound, Message: "there is no saved view of this name; it may have been renamed or deleted"}
	case errors.Is(err, saved.ErrExists):
		return &Error{Code: CodeConflict, Message: err.Error()}
	case errors.As(err, &invalid):
		return &query.UsageError{Message: invalid.Message}
	}
	return err
}

func (s *server) getViews(w http.ResponseWriter, r *http.Request) error {
	if err := newParams(r).err(); err != nil {
		return err
	}
	kept, err := s.kept()
	if err != nil {
		return err
	}
	return answer(w, viewsAnswer{kept.List()})
}

// readView reads a body of JSON. A form of another site cannot send that type.
func readView(w http.ResponseWriter, r *http.Request) (b viewBody, err error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != typeJSON {
		return b, &query.UsageError{Message: `the body must be application/json: {"name": "...", "state": "/?filter=..."}`}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxViewBody))
	d.DisallowUnknownFields()
	err = d.Decode(&b)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return b, err
	}
	if err != nil {
		return b, &query.UsageError{Message: `the body is not {"name": "...", "state": "/?filter=..."}: ` + err.Error()}
	}
	return b, nil
}

func (s *server) postView(w http.ResponseWriter, r *http.Request) error {
	return s.writeView(w, r, func(kept *saved.Store, b viewBody) (saved.View, error) { return kept.Create(b.Name, b.State) })
}

func (s *server) putView(w http.ResponseWriter, r *http.Request) error {
	return s.writeView(w, r, func(kept *saved.Store, b viewBody) (saved.View, error) {
		return kept.Change(r.PathValue("name"), b.Name, b.State)
	})
}

func (s *server) writeView(w http.ResponseWriter, r *http.Request, write func(*saved.Store, viewBody) (saved.View, error)) error {
	if err := newParams(r).err(); err != nil {
		return err
	}
	kept, err := s.kept()
	if err != nil {
		return err
	}
	b, err := readView(w, r)
	if err != nil {
		return err
	}
	v, err := write(kept, b)
	if err != nil {
		return viewError(err)
	}
	return answer(w, v)
}

func (s *server) deleteView(w http.ResponseWriter, r *http.Request) error {
	if err := newParams(r).err(); err != nil {
		return err
	}
	kept, err := s.kept()
	if err != nil {
		return err
	}
	if err := kept.Delete(r.PathValue("name")); err != nil {
		return viewError(err)
	}
	return answer(w, viewsAnswer{kept.List()})
}

// openView is the address that people share. It leads to what the view is now.
func (s *server) openView(w http.ResponseWriter, r *http.Request) error {
	kept, err := s.kept()
	if err != nil {
		return err
	}
	v, err := kept.Get(r.PathValue("name"))
	if err != nil {
		return viewError(err)
	}
	u, err := url.Parse(v.State) // a page of this server, as views promises
	if err != nil {
		return fmt.Errorf("open view: %w", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).String(), http.StatusSeeOther)
	return nil
}
