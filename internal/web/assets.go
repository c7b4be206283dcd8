package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed assets templates
var files embed.FS

// assets are the page's files. All are served below one directory whose name is
// a hash of them all, so that modules import each other by relative paths and
// every file can be cached for ever.
type assets struct {
	hash  string
	files map[string][]byte
}

func newAssets() (*assets, error) {
	a := &assets{files: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(files, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "assets/")
		a.files[name] = data
		fmt.Fprintf(sum, "%s %d\n", name, len(data))
		sum.Write(data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	a.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return a, nil
}

// url is where the page finds an asset.
func (a *assets) url(name string) (string, error) {
	if _, ok := a.files[name]; !ok {
		return "", fmt.Errorf("no asset %s", name)
	}
	return "/assets/" + a.hash + "/" + name, nil
}

// styles are a view's style sheets: those of the libraries it draws with, and its own.
func (a *assets) styles(view string) ([]string, error) {
	names := []string{"css/chosen.css", "css/" + view + ".css"}
	if view == "events" {
		names = append([]string{"vendor/uplot/uPlot.min.css"}, names...)
	}
	urls := make([]string, len(names))
	for i, name := range names {
		var err error
		if urls[i], err = a.url(name); err != nil {
			return nil, err
		}
	}
	return urls, nil
}

var assetTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
	".md":  "text/plain; charset=utf-8",
	".ts":  "text/plain; charset=utf-8",
	"":     "text/plain; charset=utf-8", // LICENSE
}

func (s *server) getAsset(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	data, ok := s.assets.files[name]
	if !ok {
		return &Error{Code: CodeNotFound, Message: fmt.Sprintf("no asset %.80q", name)}
	}
	h := w.Header()
	h.Set("Content-Type", assetTypes[path.Ext(name)])
	h.Set("ETag", `"`+s.assets.hash+`"`)
	if r.PathValue("hash") == s.assets.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache") // a page from before an update
	}
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, err := w.Write(data)
	return err
}
