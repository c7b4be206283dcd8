package query

// FacetsQuestion asks for the values of several columns among what matches, as
// a page shows them beside its events. A column's own conditions do not narrow
// its own values, so that others can be added to those chosen.
type FacetsQuestion struct {
	Scope
	// Conditions are the values chosen so far; they narrow every facet but their own column's.
	Conditions []FacetCondition `json:"conditions,omitempty"`
	Columns    []string         `json:"columns"`
	Limit      int              `json:"limit,omitempty"` // values a column, default 10, at most 1000
	// Contains keeps values that contain it, in any case; "" keeps all.
	Contains string `json:"contains,omitempty"`
}

// FacetCondition is what was chosen in one column.
type FacetCondition struct {
	Column  string   `json:"column"`
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

// FacetsAnswer has a facet for each column asked for, in that order.
type FacetsAnswer struct {
	Filter   string   `json:"filter"` // with all conditions
	Total    int64    `json:"total"`
	Facets   []Facet  `json:"facets"`
	Warnings Warnings `json:"warnings,omitempty"`
}

// Facet is the values of one column, most frequent first. More is whether there are others.
type Facet struct {
	Column string     `json:"column"`
	Rows   []GroupRow `json:"rows"`
	More   bool       `json:"more,omitempty"`
}
