package web

import "github.com/ktrail/ktrail/internal/visible"

// short is s marked, for a place that has little room.
func short(s string) string { return visible.Marked(visible.Clip(s, 160)) }
