package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// objectsData is what the Objects view's template has. Tree, timeline and history
// are asked for by its module: what they show changes with every zoom.
type objectsData struct {
	Find string // what the tree is searched for
}

func objectsView() view {
	return view{
		Name: "objects", Title: "Objects", Path: "/objects", Routes: []string{"/objects"}, Go: "o",
		// The same names as in js/objects.js, which says what they are.
		Own: []string{"under", "find", "object", "diff", "event", "form", "noise", "status"},
		Keys: []keyHelp{
			{[]string{"f"}, "find in the tree"},
			{[]string{"↑", "↓"}, "next, previous row or node"},
			{[]string{"←", "→"}, "earlier, later; in the tree: close, open"},
			{[]string{"+", "-"}, "zoom in, out; also Ctrl and the wheel"},
			{[]string{"0"}, "all of the time there is"},
			{[]string{"[", "]"}, "previous, next mark of the row"},
			{[]string{"Enter"}, "history of the row"},
			{[]string{"n", "p"}, "next, previous change of the difference"},
		},
		load: loadObjects,
	}
}

func loadObjects(_ *server, _ *http.Request, p *page) (int, error) {
	p.Data = objectsData{Find: p.Query.Own.Get("find")}
	return http.StatusOK, nil
}

// objectParam names e's object in the Objects view's URL.
func objectParam(e *audit.Event) string {
	return keyParam(query.ObjectKey{Cluster: e.Cluster, Namespace: e.Namespace, APIGroup: e.APIGroup, Resource: e.Resource, Name: e.Name})
}

// keyParam names an object in the Objects view's URL: cluster, namespace, group,
// resource and name, each escaped, with slashes between them.
func keyParam(k query.ObjectKey) string {
	parts := []string{k.Cluster, k.Namespace, k.APIGroup, k.Resource, k.Name}
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
