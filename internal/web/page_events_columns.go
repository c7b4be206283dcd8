package web

import (
	"slices"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/query"
)

// tableColumn is a column that the table of events can have: one of the events'
// columns, or object, which is resource, subresource and name, or else the URI.
type tableColumn struct {
	Name, Title, Doc string
	// Kind is the class of its cells, and how they are made.
	Kind   string
	column *query.Column // nil for object
}

// cell is one value in the table. Value is what a filter compares with.
type cell struct {
	Column, Title, Kind string
	Value, Text         string
}

func defaultColumns() []string {
	return []string{"time", "user", "verb", "object", "namespace", "code", "source_ips"}
}

// tableColumns are all of them, in the order of the picker.
func tableColumns() []tableColumn {
	titles := map[string]string{
		"as_user": "As whom", "as_groups": "As groups", "source_ips": "Address", "api_group": "API group", "api_version": "API version",
		"audit_id": "Audit ID", "user_uid": "User's UID", "object_uid": "Object's UID", "uri": "URI", "id": "ID", "latency_us": "Latency",
		"decision_reason": "Allowed by", "credential_id": "Credential", "source": "Log",
	}
	kinds := map[string]string{"time": "time", "user": "user", "verb": "verb", "code": "code", "namespace": "namespace", "source_ips": "address"}
	out := []tableColumn{{Name: "object", Title: "Object", Doc: "resource and name, or the path of what is no resource", Kind: "object"}}
	for _, c := range query.Columns() {
		if !c.Filterable {
			continue
		}
		t := tableColumn{Name: c.Name, Title: titles[c.Name], Doc: c.Doc, Kind: kinds[c.Name], column: &c}
		if t.Title == "" {
			t.Title = strings.ToUpper(c.Name[:1]) + strings.ReplaceAll(c.Name[1:], "_", " ")
		}
		switch {
		case t.Kind != "":
		case c.Type == query.Time:
			t.Kind = "moment"
		default:
			t.Kind = "other"
		}
		out = append(out, t)
	}
	return out
}

// chosenColumns are those that the URL names, or else the default. What is no
// column is left out.
func chosenColumns(q pageQuery) []tableColumn {
	all := tableColumns()
	pick := func(names []string) []tableColumn {
		var out []tableColumn
		for _, name := range names {
			known := func(c tableColumn) bool { return c.Name == name }
			if i := slices.IndexFunc(all, known); i >= 0 && !slices.ContainsFunc(out, known) {
				out = append(out, all[i])
			}
		}
		return out
	}
	if out := pick(strings.Split(q.Own.Get("columns"), ",")); len(out) > 0 {
		return out
	}
	return pick(defaultColumns())
}

func (c tableColumn) cell(e *audit.Event) cell {
	out := cell{Column: c.Name, Title: c.Title, Kind: c.Kind}
	if c.column == nil {
		return out
	}
	switch v := c.column.Value(e).(type) {
	case []string:
		// A filter takes one member; the others are shown.
		if len(v) > 0 {
			out.Value, out.Text = v[0], strings.Join(v, ", ")
		}
		if c.Kind == "address" {
			out.Text = out.Value
		}
	default:
		out.Value = c.column.Text(e)
		out.Text = out.Value
	}
	switch {
	case c.Name == "latency_us" && e.LatencyUS != 0:
		out.Text = (time.Duration(e.LatencyUS) * time.Microsecond).String()
	case c.Kind == "moment" && e.Received == 0:
		out.Value = ""
	}
	return out
}
