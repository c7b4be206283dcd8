package web

import "net/http"

func objectsView() view {
	return view{Name: "objects", Title: "Objects", Path: "/objects", Routes: []string{"/objects"}, Go: "o", load: loadObjects}
}

func loadObjects(_ *server, _ *http.Request, _ *page) (int, error) { return http.StatusOK, nil }
