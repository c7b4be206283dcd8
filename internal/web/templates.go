package web

import (
	"bytes"
	"html/template"
	"net/http"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
	"github.com/ktrail/ktrail/internal/visible"
)

// parseTemplates reads the page's templates. Values from events go through
// visible or short there; html/template escapes them.
func parseTemplates(a *assets) (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"asset":   a.url,
		"styles":  a.styles,
		"iso":     audit.Time.String,
		"visible": visible.Marked,
		"short":   short,
		"bytes":   bytesText,
		"number":  numberText,
		"second":  secondText,
		"lines":   visible.MarkedLines,
		"rate":    rateText,
		"lag":     lagText,
		"kb":      func(n int) string { return bytesText(int64(n)) },
	}).ParseFS(files, "templates/*.html")
}

// render executes a template whole before the first byte is sent, so that an
// error still has its status.
func (s *server) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Ktrail-Html", "1") // the page puts no other HTML into itself, such as a proxy's words
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}

// celEquals is column == "value".
func celEquals(column, value string) string { return column + " == " + query.Quote(value) }
