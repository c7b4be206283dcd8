package web

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/visible"
)

// parseTemplates reads the page's templates. Values from events go through
// visible or short there; html/template escapes them.
func parseTemplates(a *assets) (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"asset":   a.url,
		"styles":  a.styles,
		"iso":     audit.Time.String,
		"visible": visible.Marked,
		"short":   short,
		"bytes":   bytesText,
		"number":  numberText,
		"second":  secondText,
		"lines":   visible.MarkedLines,
		"rate":    rateText,
		"lag":     lagText,
		"kb":      func(n int) string { return bytesText(int64(n)) },
	}).ParseFS(files, "templates/*.html")
}

// render executes a template whole before the first byte is sent, so that an
// error still has its status.
func (s *server) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}

// celEquals is column == "value" with the value quoted as CEL reads it. Everything
// but plain ASCII is escaped, so that no value can end the quotes.
func celEquals(column, value string) string {
	var b strings.Builder
	b.WriteString(column + ` == "`)
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		default:
			b.WriteString(escapeRune(r))
		}
	}
	b.WriteByte('"')
	return b.String()
}

func escapeRune(r rune) string {
	const hex = "0123456789abcdef"
	digits, prefix := 4, `\u`
	if r > 0xffff {
		digits, prefix = 8, `\U`
	}
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		out[i] = hex[r&0xf]
		r >>= 4
	}
	return prefix + string(out)
}
