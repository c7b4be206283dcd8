package web

import "net/http"

func sourcesView() view {
	return view{Name: "sources", Title: "Sources", Path: "/sources", Routes: []string{"/sources"}, Go: "s", load: loadSources}
}

func loadSources(s *server, _ *http.Request, p *page) (int, error) {
	p.Data = newStatusView(s.status())
	return http.StatusOK, nil
}
