package config

import (
	"bytes"
	"path"
	"strings"
	"unicode/utf8"
)

// isCommandLine reports whether data, which is no other kind, is a command line
// of the API server: NUL between words, or text. In YAML that is broken the
// binary's name follows a dash or a key.
func isCommandLine(data []byte) bool {
	if !utf8.Valid(data) || len(data) > MaxSize {
		return false
	}
	words := split(data)
	i := findBinary(words)
	if i < 0 {
		return len(words) > 0 && strings.HasPrefix(words[0].text, "--") && len(words[0].text) > len("---")
	}
	return i == 0 || words[i].breaks || words[i-1].text != "-" && !strings.HasSuffix(words[i-1].text, ":")
}

// programOf is the program whose /proc/PID/cmdline data is, "" if it is none: words
// of text, each ended by a NUL.
func programOf(data []byte) string {
	binary := func(r rune) bool { return r < ' ' && r != 0 && r != '\t' && r != '\n' }
	if len(data) < 2 || data[0] == 0 || data[len(data)-1] != 0 || len(data) > MaxSize || !utf8.Valid(data) || bytes.ContainsFunc(data, binary) {
		return ""
	}
	return path.Base(nulWords(data)[0].text)
}

// split makes words of either form, those of the script where it is a shell's.
func split(data []byte) []word {
	words := nulWords(data)
	if bytes.IndexByte(data, 0) < 0 {
		words = shellWords(string(data))
	}
	if script, ok := shellScript(words); ok {
		return script.words()
	}
	return words
}

// words are those of a script, all of them where the script begins.
func (w word) words() []word {
	words := shellWords(w.text)
	for i := range words {
		words[i].line, words[i].column = w.line, w.column
	}
	return words
}

func readCommandLine(data []byte) (*Settings, error) {
	if len(data) > MaxSize {
		return nil, &RefusedError{Msg: "is too long for a command line"}
	}
	if !utf8.Valid(data) {
		return nil, &RefusedError{Msg: "is not UTF-8 text"}
	}
	words := split(data)
	begin := findBinary(words) + 1
	if begin == 0 && (len(words) == 0 || !strings.HasPrefix(words[0].text, "-")) {
		return nil, &RefusedError{Msg: "is no command line of kube-apiserver: expected kube-apiserver --flag=value ..."}
	}
	return &Settings{Kind: CommandLine, Args: args(parseFlags(untilEnd(words, begin), begin))}, nil
}

// findBinary is the index of the word that runs the API server, -1 if none does.
func findBinary(words []word) int {
	for i, w := range words {
		if _, prog, ok := strings.Cut(w.text, "="); ok && strings.HasPrefix(w.text, "ExecStart=") {
			w.text = prog
		}
		if isBinary(w.text) && !strings.HasPrefix(w.text, "-") {
			return i
		}
	}
	return -1
}

// untilEnd cuts words where the command ends: at what a shell would not pass
// on, or where a new line begins that is no flag.
func untilEnd(words []word, begin int) []word {
	for i := begin; i < len(words); i++ {
		w := words[i]
		switch {
		case strings.ContainsAny(w.text[:min(1, len(w.text))], "|;&<>") || w.text == "2>&1":
			return words[:i]
		case i > begin && w.breaks && !strings.HasPrefix(w.text, "-"):
			return words[:i]
		}
	}
	return words
}

// nulWords splits /proc/PID/cmdline.
func nulWords(data []byte) []word {
	var out []word
	for _, w := range strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00") {
		out = append(out, word{text: w})
	}
	return out
}

// shellWords splits text as a shell does: quotes join, a backslash takes the
// next character as it is, or joins lines.
func shellWords(text string) []word {
	var out []word
	var w strings.Builder
	line, column := 1, 0
	open, breaks := false, true
	at := word{}
	var quote rune
	escaped := false
	begin := func() {
		if !open {
			open, at = true, word{line: line, column: column, breaks: breaks}
			breaks = false
		}
	}
	end := func() {
		if open {
			at.text = w.String()
			out = append(out, at)
			w.Reset()
			open = false
		}
	}
	for _, c := range strings.ReplaceAll(text, "\r\n", "\n") {
		column++
		switch {
		case escaped:
			escaped = false
			if c != '\n' {
				if quote == '"' && !strings.ContainsRune("$`\"\\", c) {
					w.WriteByte('\\')
				}
				begin()
				w.WriteRune(c)
			}
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				w.WriteRune(c)
			}
		case c == '\'' || c == '"':
			begin()
			quote = c
		case c == ' ' || c == '\t' || c == '\n':
			end()
			breaks = breaks || c == '\n'
		default:
			begin()
			w.WriteRune(c)
		}
		if c == '\n' {
			line, column = line+1, 0
		}
	}
	end()
	return out
}
