package web

import (
	"net/http"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/visible"
)

const (
	defaultQuarantine = 50
	maxQuarantine     = 1000
)

// QuarantineQuestion asks for the newest lines that could not be decoded.
// Source "" means of all sources.
type QuarantineQuestion struct {
	Source string
	Limit  int
}

// QuarantineAnswer lists lines, newest first. More is whether there are others.
type QuarantineAnswer struct {
	Lines []QuarantineLine `json:"lines"`
	More  bool             `json:"more,omitempty"`
}

// QuarantineLine is a piece of a log that is no audit event, and where it stood.
type QuarantineLine struct {
	Source string     `json:"source"`
	File   string     `json:"file,omitempty"`
	Offset int64      `json:"offset"` // in bytes, uncompressed
	Reason string     `json:"reason"`
	At     audit.Time `json:"at"` // when it was set aside
	// Text is the line, redacted, for showing: characters that would hide or move
	// others as their numbers, the beginning only if it is long.
	Text string `json:"text"`
	// Bytes is how long the line is.
	Bytes int `json:"bytes"`
	// Cut is whether Text is the beginning only.
	Cut bool `json:"cut,omitempty"`
	// Line is the bytes that Text shows. JSON has them in visible form only.
	Line []byte `json:"-"`
}

func (s *server) getQuarantine(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r, "source", "limit")
	q := QuarantineQuestion{Source: p.text("source"), Limit: int(p.number("limit", defaultQuarantine, 1, maxQuarantine))}
	if err := p.err(); err != nil {
		return err
	}
	if s.Quarantine == nil {
		return &Error{Code: CodeUnavailable, Message: "this server has no quarantine to show"}
	}
	ctx, _, stop := s.limit(r.Context())
	defer stop()
	a, err := s.Quarantine(ctx, q)
	if err != nil {
		return limited(ctx, err)
	}
	if a.Lines == nil {
		a.Lines = []QuarantineLine{}
	}
	for i := range a.Lines {
		a.Lines[i].Text = visible.Marked(string(a.Lines[i].Line))
	}
	return answer(w, a)
}
