package cli

import (
	"encoding/csv"
	"io"

	"github.com/ktrail/ktrail/internal/sheet"
	"github.com/ktrail/ktrail/internal/visible"
)

// csvPrinter writes rows as RFC 4180 CSV. Text is defused, numbers are not.
type csvPrinter struct {
	w   *csv.Writer
	tty bool
	row []string
}

func newCSV(w io.Writer, tty bool, header []string) (*csvPrinter, error) {
	p := &csvPrinter{w: csv.NewWriter(w), tty: tty}
	for _, h := range header {
		p.text(h)
	}
	return p, p.end()
}

func (p *csvPrinter) text(s string) {
	s = sheet.Defuse(s)
	if p.tty {
		s = visible.Line(s)
	}
	p.row = append(p.row, s)
}

func (p *csvPrinter) number(s string) { p.row = append(p.row, s) }

func (p *csvPrinter) end() error {
	err := p.w.Write(p.row)
	p.row = p.row[:0]
	return err
}

func (p *csvPrinter) flush() error {
	p.w.Flush()
	return p.w.Error()
}
