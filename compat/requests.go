package compat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// ReadRequests reads the requests of a compressed audit log, one for each event.
func ReadRequests(r io.Reader) ([]*policy.Attributes, error) {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var all []*policy.Attributes
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		e := &audit.Event{}
		if err := audit.Decode(bytes.Clone(lines.Bytes()), e); err != nil {
			return nil, fmt.Errorf("event %d: %w", len(all)+1, err)
		}
		a := policy.AttributesOf(e)
		all = append(all, &a)
	}
	return all, lines.Err()
}
