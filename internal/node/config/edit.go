package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The edits below each do one thing twice: to the text, by cutting and pasting
// whole lines or elements, and to the tree of nodes. The new text is parsed and
// must say what the tree says, or the edit is refused. So whatever the text
// looks like, an edit does what it should or nothing.

// splice puts text in place of n bytes at an offset.
type splice struct {
	at, n int
	text  string
}

// apply makes the edits in the text and holds the outcome against the tree,
// which the caller changed. at is what a refusal points to.
func (s *source) apply(at *yaml.Node, edits ...splice) (*source, error) {
	slices.SortStableFunc(edits, func(a, b splice) int { return cmp.Compare(a.at, b.at) })
	var out strings.Builder
	done := 0
	for _, e := range edits {
		if e.at < done || e.at+e.n > len(s.text) {
			return nil, unclear(at)
		}
		out.Write(s.text[done:e.at])
		out.WriteString(e.text)
		done = e.at + e.n
	}
	out.Write(s.text[done:])
	after, err := parse([]byte(out.String()))
	if err != nil || after.json != s.json || !slices.EqualFunc(s.docs, after.docs, same) {
		return nil, unclear(at)
	}
	after.bom = s.bom
	return after, nil
}

func unclear(at *yaml.Node) error {
	if at.Anchor != "" || at.Style&yaml.TaggedStyle != 0 {
		return refuse(at, "has an anchor or a tag, around which nothing is edited: remove it")
	}
	return refuse(at, "is written in a way that cannot be edited without touching more than the audit settings: write it as a plain list or mapping, one element a line")
}

func refuse(at *yaml.Node, format string, a ...any) error {
	return &RefusedError{Line: at.Line, Column: at.Column, Msg: fmt.Sprintf(format, a...)}
}

// same reports whether two trees say the same.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Value == b.Value && a.Anchor == b.Anchor && (a.Kind != yaml.ScalarNode || a.ShortTag() == b.ShortTag()) && slices.EqualFunc(a.Content, b.Content, same)
}

// touch refuses nodes whose change would change something else too, or whose
// meaning depends on the reader.
func (s *source) touch(n *yaml.Node) error {
	for ; n != nil; n = s.parent[n] {
		switch {
		case n.Kind == yaml.AliasNode:
			return refuse(n, "is an alias (*%s): write out what it stands for", n.Value)
		case s.aliased[n]:
			return refuse(n, "has an anchor (&%s) that is used elsewhere, so a change here would change that too: write both out", n.Anchor)
		case n.Kind == yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				if isMerge(n.Content[i]) {
					return refuse(n.Content[i], "has a merge key (<<), which kubelet and other readers may treat differently: write out what it stands for")
				}
			}
			if err := unique(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// unique refuses a mapping that has a key twice.
func unique(m *yaml.Node) error {
	lines := map[string]int{}
	for i := 0; i < len(m.Content); i += 2 {
		k := m.Content[i]
		if before := lines[k.Value]; before > 0 {
			return refuse(k, "key %q stands twice, first on line %d: remove one", k.Value, before)
		}
		lines[k.Value] = k.Line
	}
	return nil
}

// child is the value that m itself has for key, whatever kind it is, and which
// of m's pairs that is; nil and -1 if there is none.
func child(m *yaml.Node, key string) (*yaml.Node, int) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1], i / 2
		}
	}
	return nil, -1
}

// list is the collection that m has for key; nil if it has none. That it is
// null, or of another kind, is refused: readers differ in what that means.
func (s *source) list(m *yaml.Node, key string, kind yaml.Kind) (*yaml.Node, error) {
	n, _ := child(m, key)
	if n == nil {
		return nil, s.touch(m)
	}
	if err := s.touch(n); err != nil {
		return nil, err
	}
	if n.Kind != kind {
		return nil, refuse(n, "%s is empty or not what Kubernetes expects there: remove the line or fill it", key)
	}
	return n, nil
}

// add puts an element into a sequence or a pair into a mapping, before the i-th
// one. key is nil for a sequence.
func (s *source) add(into *yaml.Node, i int, key, value *yaml.Node) (*source, error) {
	if err := s.touch(into); err != nil {
		return nil, err
	}
	var edits []splice
	var err error
	switch {
	case into.Style&yaml.FlowStyle != 0:
		edits, err = s.addFlow(into, i, key, value)
	case key == nil:
		edits, err = s.addLines(into, i, value)
	default:
		i = s.roomFor(into, i)
		edits, err = s.addPair(into, i, key, value)
	}
	if err != nil {
		return nil, err
	}
	if key == nil {
		into.Content = slices.Insert(into.Content, i, value)
	} else {
		into.Content = slices.Insert(into.Content, 2*i, key, value)
	}
	return s.apply(into, edits...)
}

// addLines adds an element to a sequence that is written with dashes.
func (s *source) addLines(seq *yaml.Node, i int, value *yaml.Node) ([]splice, error) {
	col := seq.Column - 1
	gap := 2
	var after int
	if i == 0 {
		first, ok := s.dash(seq, 0)
		if !ok {
			return nil, unclear(seq)
		}
		after = s.aboveComments(first) - 1
	} else {
		begin, ok := s.dash(seq, i-1)
		if !ok {
			return nil, unclear(seq)
		}
		after = s.blockEnd(begin, col, false, endsLiteral(seq.Content[i-1]))
	}
	if first := seq.Content[0]; first.Column > seq.Column && first.Line == seq.Line {
		gap = first.Column - seq.Column
	}
	return []splice{s.linesAfter(after, s.elementLines(value, col, gap))}, nil
}

// addPair adds a key to a mapping that is written line by line.
func (s *source) addPair(m *yaml.Node, i int, key, value *yaml.Node) ([]splice, error) {
	col := m.Content[0].Column - 1
	after := s.aboveComments(m.Content[0].Line-1) - 1
	if i > 0 {
		after = s.pairEnd(m, i-1)
	}
	if after < 0 {
		return nil, unclear(m)
	}
	return []splice{s.linesAfter(after, s.pairLines(key, value, col))}, nil
}

// roomFor is i, but 1 where the mapping's first key stands behind a dash.
func (s *source) roomFor(m *yaml.Node, i int) int {
	if i == 0 && (m.Content[0].Line == 1 || !s.ownLine(m.Content[0])) {
		return 1
	}
	return i
}

// ownLine reports whether nothing stands before n on its line.
func (s *source) ownLine(n *yaml.Node) bool {
	return strings.Trim(s.lineText(n.Line - 1)[:s.offset(n)-s.line[n.Line-1]], " \t") == ""
}

// remove takes an element out of a sequence or a pair out of a mapping. What
// that leaves empty goes too if add would have made it.
func (s *source) remove(from *yaml.Node, i int) (*source, error) {
	if err := s.touch(from); err != nil {
		return nil, err
	}
	width := 1
	if from.Kind == yaml.MappingNode {
		width = 2
	}
	for _, n := range from.Content[i*width : (i+1)*width] {
		if s.anchored(n) {
			return nil, refuse(n, "holds an anchor that is used elsewhere: write both out")
		}
	}
	if len(from.Content) == width && !s.isTop(from) {
		return s.empty(from)
	}
	var edits []splice
	var err error
	switch {
	case from.Style&yaml.FlowStyle != 0 && len(from.Content) == width: // {} again
		var cut splice
		cut, _, err = s.emptyFlow(from)
		edits = []splice{cut}
	case from.Style&yaml.FlowStyle != 0:
		edits, err = s.removeFlow(from, i)
	default:
		var first, last int
		first, last, err = s.elementAt(from, i)
		edits = []splice{s.cutLines(first, last)}
	}
	if err != nil {
		return nil, err
	}
	from.Content = slices.Delete(from.Content, i*width, (i+1)*width)
	return s.apply(from, edits...)
}

func (s *source) anchored(n *yaml.Node) bool {
	return s.aliased[n] || slices.ContainsFunc(n.Content, s.anchored)
}

// elementAt is the lines of an element in a collection written line by line.
func (s *source) elementAt(in *yaml.Node, i int) (first, last int, err error) {
	if in.Kind == yaml.SequenceNode {
		first, ok := s.dash(in, i)
		if !ok {
			return 0, 0, unclear(in)
		}
		return first, s.blockEnd(first, in.Column-1, false, endsLiteral(in.Content[i])), nil
	}
	key := in.Content[2*i]
	if !s.ownLine(key) {
		return 0, 0, unclear(key)
	}
	return key.Line - 1, s.pairEnd(in, i), nil
}

// empty takes the only element out of a collection. In brackets, add leaves a
// space behind the bracket of a list that was there and none in one that it
// made; so what to do with the empty one can be told. Line by line, a mapping
// at the top that was {} becomes that again unless it is the last; see unfold.
func (s *source) empty(n *yaml.Node) (*source, error) {
	up := s.parent[n]
	at := slices.Index(up.Content, n)
	if up.Kind == yaml.MappingNode {
		at /= 2
	}
	if n.Style&yaml.FlowStyle != 0 {
		cut, kept, err := s.emptyFlow(n)
		if err != nil {
			return nil, err
		}
		if !kept && up.Kind == yaml.MappingNode {
			return s.remove(up, at)
		}
		n.Content = nil
		return s.apply(n, cut)
	}
	if up.Kind != yaml.MappingNode {
		return nil, unclear(n)
	}
	key := up.Content[2*at]
	_, colon, ok := s.scalar(key)
	if !ok || colon >= len(s.text) || s.text[colon] != ':' {
		return nil, unclear(key)
	}
	end := s.pairEnd(up, at)
	rest := strings.TrimSpace(string(s.text[colon+1 : s.line[key.Line]]))
	made := s.ownLine(key) && rest == "" && !s.commented(key.Line, end)
	if n.Kind == yaml.MappingNode && s.isTop(up) {
		made = made && 2*at+2 == len(up.Content)
	}
	if made {
		return s.remove(up, at)
	}
	first, last, err := s.elementAt(n, 0)
	if err != nil {
		return nil, err
	}
	text := " []"
	if n.Kind == yaml.MappingNode {
		text = " {}"
	}
	n.Content, n.Style = nil, yaml.FlowStyle
	return s.apply(n, splice{colon + 1, 0, text}, s.cutLines(first, last))
}

// isTop reports whether n is all of a document.
func (s *source) isTop(n *yaml.Node) bool { return s.parent[n].Kind == yaml.DocumentNode }

// unfold gives a mapping at the top that is written as {} its first pair, line by line, where
// that can be told apart from one that was not there; else as add does.
func (s *source) unfold(m, key, value *yaml.Node) (*source, error) {
	if err := s.touch(m); err != nil {
		return nil, err
	}
	up := s.parent[m]
	if len(m.Content) > 0 || !s.isTop(up) || up.Style&yaml.FlowStyle != 0 || up.Content[len(up.Content)-1] == m {
		return s.add(m, sortedKey(m, key.Value), key, value)
	}
	k := up.Content[slices.Index(up.Content, m)-1]
	_, colon, ok := s.scalar(k)
	if !ok || !strings.HasPrefix(string(s.text[colon:]), ": {}") || !s.ownLine(k) {
		return s.add(m, 0, key, value)
	}
	m.Content, m.Style = []*yaml.Node{key, value}, 0
	lines := s.pairLines(key, value, k.Column-1+s.unit())
	return s.apply(m, splice{colon + 1, len(" {}"), ""}, s.linesAfter(k.Line-1, lines))
}

// sortedKey is where a key goes in a mapping: its sorted place if the keys are
// sorted, as Kubernetes writes them, else the end.
func sortedKey(m *yaml.Node, key string) int {
	var keys []string
	for i := 0; i < len(m.Content); i += 2 {
		keys = append(keys, m.Content[i].Value)
	}
	return sortedPlace(keys, key)
}

func sortedPlace(names []string, name string) int {
	if !slices.IsSorted(names) {
		return len(names)
	}
	i, _ := slices.BinarySearch(names, name)
	return i
}
