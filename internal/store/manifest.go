package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ktrail/ktrail/audit"
)

// The MANIFEST is the list of what is in the store, as lines:
//
//	┌──────────────┬────┬──────────────────────┬────┐
//	│ CRC32C       │ SP │ JSON object          │ LF │
//	│ 8 hex digits │    │ of one line          │    │
//	└──────────────┴────┴──────────────────────┴────┘
//
// The CRC is of the JSON. A line break ends every record and stands nowhere
// else, so a damaged record does not hide the ones behind it. A file's last
// line without LF was being written when the machine stopped: it was never
// acknowledged and is dropped, unless all of it is there (see [lastRecord]).
const (
	manifestName   = "MANIFEST"
	manifestFormat = 1
	// checkpointBytes is how large the MANIFEST may grow before it is rewritten,
	// if that makes it much smaller.
	checkpointBytes = 1 << 20
	// keptGaps is how many gaps are kept for a source, the newest ones.
	keptGaps = 100
)

// The types of records.
const (
	recordHeader     = "header"     // first: the format, and numbers not to be used again
	recordAdd        = "add"        // a commit: segments, cursors, quarantine, gaps
	recordReplace    = "replace"    // compaction: Segments instead of Removed
	recordDrop       = "drop"       // retention: Removed are gone
	recordDamage     = "damage"     // something cannot be trusted; a segment in it is no longer live
	recordObsolete   = "obsolete"   // Files are to be deleted
	recordCheckpoint = "checkpoint" // like add, but stands for all that was before
)

type record struct {
	Type     string          `json:"t"`
	Format   int             `json:"format,omitempty"`
	NextSeq  int64           `json:"next_seq,omitempty"`
	NextID   int64           `json:"next_id,omitempty"`
	Segments []segmentRecord `json:"segments,omitempty"`
	Removed  []int64         `json:"removed,omitempty"` // seqs
	Files    []string        `json:"files,omitempty"`

	Cursors     map[string]json.RawMessage `json:"cursors,omitempty"`
	Quarantined map[string]int64           `json:"quarantined,omitempty"` // lines more, by source
	Gaps        []Gap                      `json:"gaps,omitempty"`
	Damage      []Damage                   `json:"damage,omitempty"`
}

type segmentRecord struct {
	Seq     int64      `json:"seq"`
	Path    string     `json:"path"` // below the data directory, with slashes
	Level   int        `json:"level"`
	Rows    int64      `json:"rows"`
	Bytes   int64      `json:"bytes"`
	MinTime audit.Time `json:"min_time"`
	MaxTime audit.Time `json:"max_time"`
	MinID   int64      `json:"min_id"`
	MaxID   int64      `json:"max_id"`
	SHA256  string     `json:"sha256"`
	CRC     string     `json:"crc"` // CRC32C of each MiB, 8 hex digits each
}

func (r *segmentRecord) validate() error {
	clean := path.Clean(r.Path)
	switch {
	case r.Seq <= 0 || r.Rows <= 0 || r.Bytes <= 0 || r.MinTime > r.MaxTime || r.MinID <= 0 || r.MinID > r.MaxID:
		return fmt.Errorf("segment %d has impossible numbers", r.Seq)
	case clean != r.Path || !strings.HasPrefix(clean, segmentsDir+"/") || !filepath.IsLocal(clean):
		return fmt.Errorf("segment %d has the path %q outside of %s/", r.Seq, r.Path, segmentsDir)
	case int64(len(r.CRC)) != 8*((r.Bytes+blockSize-1)/blockSize):
		return fmt.Errorf("segment %d has %d digits of block sums", r.Seq, len(r.CRC))
	}
	if len(r.SHA256) != 2*sha256.Size {
		return fmt.Errorf("segment %d has no SHA-256", r.Seq)
	}
	for _, sum := range []string{r.SHA256, r.CRC} {
		if _, err := hex.DecodeString(sum); err != nil {
			return fmt.Errorf("segment %d: %w", r.Seq, err)
		}
	}
	return nil
}

// encodeRecord returns the record's line.
func encodeRecord(r *record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode manifest record: %w", err)
	}
	line := make([]byte, 0, len(body)+10)
	line = fmt.Appendf(line, "%08x ", crc32.Checksum(body, castagnoli()))
	line = append(line, body...)
	return append(line, '\n'), nil
}

// errRecord is why a line is no record.
var errRecord = errors.New("checksum does not match")

// decodeRecord reads a line without its LF.
func decodeRecord(line []byte) (*record, error) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, errors.New("not a manifest record")
	}
	want, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil {
		return nil, errors.New("not a manifest record")
	}
	body := line[9:]
	if crc32.Checksum(body, castagnoli()) != uint32(want) {
		return nil, errRecord
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read manifest record: %w", err)
	}
	for i := range r.Segments {
		if err := r.Segments[i].validate(); err != nil {
			return nil, err
		}
	}
	return &r, nil
}

// badLine is a complete line that is no record.
type badLine struct {
	offset int64
	line   []byte
	err    error
}

// scanManifest calls apply for each good record of data and returns the damaged
// lines and how many bytes complete lines make up. apply's error ends the scan.
func scanManifest(data []byte, apply func(*record) error) (bad []badLine, whole int64, err error) {
	for {
		i := bytes.IndexByte(data[whole:], '\n')
		if i < 0 {
			return bad, whole, nil
		}
		line := data[whole : whole+int64(i)]
		r, derr := decodeRecord(line)
		if derr != nil {
			bad = append(bad, badLine{offset: whole, line: bytes.Clone(line), err: derr})
		} else if err := apply(r); err != nil {
			return bad, whole, err
		}
		whole += int64(i) + 1
	}
}

// lastRecord reads what stands behind the last LF. Most often it is torn, and
// nil. If only the LF is missing, or is there with a wrong bit (then spoilt is
// why), the record is whole and may have been acknowledged.
func lastRecord(tail []byte) (r *record, spoilt error) {
	if r, err := decodeRecord(tail); err == nil {
		return r, nil
	}
	if len(tail) > 0 {
		if r, err := decodeRecord(tail[:len(tail)-1]); err == nil {
			return r, errors.New("the line break at its end is wrong; nothing of it is lost")
		}
	}
	return nil, nil
}

// contents is the state that the MANIFEST describes.
type contents struct {
	live        map[int64]*segment // by seq
	nextSeq     int64
	nextID      int64
	cursors     map[string]json.RawMessage
	quarantined map[string]int64
	gaps        map[string][]Gap
	damage      []Damage
	obsolete    map[string]*segment // files to delete, by path below the directory
}

func newContents() contents {
	return contents{
		live: map[int64]*segment{}, nextSeq: 1, nextID: 1,
		cursors: map[string]json.RawMessage{}, quarantined: map[string]int64{},
		gaps: map[string][]Gap{}, obsolete: map[string]*segment{},
	}
}

// apply makes the change that r describes. dir is the data directory.
func (c *contents) apply(dir string, r *record) error {
	switch r.Type {
	case recordHeader:
		if r.Format != manifestFormat {
			return fmt.Errorf("read %s: format %d: %w", filepath.Join(dir, manifestName), r.Format, ErrFormat)
		}
	case recordAdd, recordReplace, recordDrop, recordDamage, recordObsolete, recordCheckpoint:
	default:
		return fmt.Errorf("read %s: record type %q: %w", filepath.Join(dir, manifestName), r.Type, ErrFormat)
	}
	c.nextSeq = max(c.nextSeq, r.NextSeq)
	c.nextID = max(c.nextID, r.NextID)
	for _, seq := range r.Removed {
		if g := c.live[seq]; g != nil {
			g.obsolete = true
			c.obsolete[g.Rel] = g
			delete(c.live, seq)
		}
	}
	for i := range r.Segments {
		sr := &r.Segments[i]
		c.live[sr.Seq] = sr.segment(dir)
		c.nextSeq = max(c.nextSeq, sr.Seq+1)
		c.nextID = max(c.nextID, sr.MaxID+1)
	}
	for _, f := range r.Files {
		if c.obsolete[f] == nil && filepath.IsLocal(f) {
			c.obsolete[f] = &segment{Rel: f, Path: filepath.Join(dir, filepath.FromSlash(f)), obsolete: true}
		}
	}
	for k, v := range r.Cursors {
		c.cursors[k] = v
	}
	for k, v := range r.Quarantined {
		c.quarantined[k] += v
	}
	for _, g := range r.Gaps {
		l := append(c.gaps[g.Source], g)
		c.gaps[g.Source] = l[max(0, len(l)-keptGaps):]
	}
	for _, d := range r.Damage {
		c.damage = append(c.damage, d)
		delete(c.live, d.Seq)
	}
	return nil
}

func (r *segmentRecord) segment(dir string) *segment {
	return &segment{
		Seq: r.Seq, Rel: r.Path, Path: filepath.Join(dir, filepath.FromSlash(r.Path)), Level: r.Level,
		Rows: r.Rows, Bytes: r.Bytes, MinTime: r.MinTime, MaxTime: r.MaxTime, MinID: r.MinID, MaxID: r.MaxID,
		sha256: r.SHA256, blocks: r.CRC,
	}
}

func (g *segment) record() segmentRecord {
	return segmentRecord{
		Seq: g.Seq, Path: g.Rel, Level: g.Level, Rows: g.Rows, Bytes: g.Bytes,
		MinTime: g.MinTime, MaxTime: g.MaxTime, MinID: g.MinID, MaxID: g.MaxID, SHA256: g.sha256, CRC: g.blocks,
	}
}

// checkpoint encodes the contents as a MANIFEST of its own.
func (c *contents) checkpoint() ([]byte, error) {
	head := &record{Type: recordHeader, Format: manifestFormat, NextSeq: c.nextSeq, NextID: c.nextID}
	state := &record{Type: recordCheckpoint, Cursors: c.cursors, Quarantined: c.quarantined, Damage: c.damage}
	for _, source := range sortedKeys(c.gaps) {
		state.Gaps = append(state.Gaps, c.gaps[source]...)
	}
	records := []*record{head, state}
	if files := sortedKeys(c.obsolete); len(files) > 0 {
		records = append(records, &record{Type: recordObsolete, Files: files})
	}
	for _, seq := range sortedKeys(c.live) {
		records = append(records, &record{Type: recordAdd, Segments: []segmentRecord{c.live[seq].record()}})
	}
	var out []byte
	for _, r := range records {
		line, err := encodeRecord(r)
		if err != nil {
			return nil, err
		}
		out = append(out, line...)
	}
	return out, nil
}
