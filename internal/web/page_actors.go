package web

import "net/http"

func actorsView() view {
	return view{Name: "actors", Title: "Actors", Path: "/actors", Routes: []string{"/actors", "/actors/{user}"}, Go: "a", load: loadActors}
}

func loadActors(_ *server, r *http.Request, p *page) (int, error) {
	p.Data = r.PathValue("user")
	return http.StatusOK, nil
}
