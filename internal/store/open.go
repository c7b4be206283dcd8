package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/internal/durable"
)

// openWriter takes the lock, reads the MANIFEST and puts the directory in order.
func (s *Store) openWriter() error {
	for _, d := range []string{s.dir, s.path(segmentsDir), s.path(quarantineDir)} {
		if err := s.fs.MkdirAll(d); err != nil {
			return err
		}
	}
	lock, err := s.fs.Lock(s.path(lockName), true)
	if errors.Is(err, durable.ErrLocked) {
		return ErrLocked
	}
	if err != nil {
		return err
	}
	s.lock = lock
	f, err := s.fs.Append(s.path(readersName)) // readers cannot make it
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	clean, err := s.loadManifest()
	if err != nil {
		return err
	}
	changed, err := s.tidy()
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if changed || !clean || s.size > checkpointBytes {
		if err := s.rewriteManifest(); err != nil {
			return err
		}
	}
	// The MANIFEST that was read may have been put there by a process that stopped
	// before its name was durable.
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	if s.manifest == nil {
		if s.manifest, err = s.fs.Append(s.path(manifestName)); err != nil {
			return fmt.Errorf("open manifest: %w", err)
		}
	}
	s.deleteObsoleteLocked()
	return nil
}

// loadManifest reads the MANIFEST of a store that is to be written to. clean is
// false if it must be rewritten: it is new, its end is torn or a record damaged.
func (s *Store) loadManifest() (clean bool, err error) {
	name := s.path(manifestName)
	data, err := durable.ReadFile(s.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		found, err := s.walk()
		if err != nil {
			return false, err
		}
		for _, f := range found {
			if strings.HasSuffix(f.rel, ".parquet") {
				return false, &DamageError{Damage{File: manifestName, Reason: "it is missing while there are segments; restore it from a backup, or move " + s.path(segmentsDir) + " away and import it anew"}}
			}
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open manifest: %w", err)
	}
	records := 0
	bad, whole, err := scanManifest(data, func(r *record) error {
		records++
		return s.contents.apply(s.dir, r)
	})
	if err != nil {
		return false, err
	}
	if records == 0 {
		return false, &DamageError{Damage{File: manifestName, Length: int64(len(data)), Reason: "it has no readable record; restore it from a backup"}}
	}
	s.size, s.base, s.untrusted = whole, whole, len(bad) > 0
	tail := data[whole:]
	switch last, spoilt := lastRecord(tail); {
	case last != nil:
		if err := s.contents.apply(s.dir, last); err != nil {
			return false, err
		}
		if spoilt != nil {
			bad = append(bad, badLine{offset: whole, line: tail, err: spoilt})
			break
		}
		s.log.Info("the last record of the manifest lacked its line break only and was taken", slog.Int64("offset", whole))
	case len(tail) > 0:
		s.log.Info("dropped a torn record at the end of the manifest", slog.Int64("offset", whole), slog.Int("bytes", len(tail)))
	}
	for _, b := range bad {
		if err := s.keepBadLine(b); err != nil {
			return false, err
		}
	}
	return len(bad) == 0 && whole == int64(len(data)), nil
}

// keepBadLine copies a damaged record to quarantine and reports it.
func (s *Store) keepBadLine(b badLine) error {
	rel := s.freeQuarantineName(fmt.Sprintf("manifest-%d.bad", b.offset))
	if err := durable.WriteFile(s.fs, s.path(rel), b.line); err != nil {
		return fmt.Errorf("keep damaged record: %w", err)
	}
	s.noteDamage(Damage{
		File: manifestName, Offset: b.offset, Length: int64(len(b.line)) + 1,
		Reason: "record: " + b.err.Error(), Moved: rel, At: audit.TimeOf(time.Now()),
	})
	return nil
}

func (s *Store) noteDamage(d Damage) {
	s.damage = append(s.damage, d)
	s.log.Error("damage found", slog.String("file", d.File),
		slog.Int64("offset", d.Offset), slog.Int64("length", d.Length), slog.String("reason", d.Reason),
		slog.Int64("events", d.Rows), slog.String("kept", d.Moved))
}

// found is a file below segments/.
type found struct {
	rel  string
	size int64
}

// walk lists the files below segments/.
func (s *Store) walk() ([]found, error) {
	var list []found
	var down func(rel string) error
	down = func(rel string) error {
		entries, err := s.fs.ReadDir(s.path(rel))
		if err != nil {
			return fmt.Errorf("list segments: %w", err)
		}
		for _, e := range entries {
			child := path.Join(rel, e.Name())
			if e.IsDir() {
				if err := down(child); err != nil {
					return err
				}
				continue
			}
			info, err := e.Info()
			if err != nil {
				return fmt.Errorf("list segments: %w", err)
			}
			list = append(list, found{child, info.Size()})
		}
		return nil
	}
	return list, down(segmentsDir)
}

// mostUnfinished is more files than one commit or merge leaves behind.
const mostUnfinished = 16

// tidy holds the files against the MANIFEST. Only if every record could be read
// is a file with a new number that of an unfinished commit, which is removed.
// What is not known otherwise moves to quarantine/.
func (s *Store) tidy() (changed bool, err error) {
	files, err := s.walk()
	if err != nil {
		return false, err
	}
	live := make(map[string]*segment, len(s.live))
	for _, g := range s.live {
		live[g.Rel] = g
	}
	unfinished := 0
	for _, f := range files {
		if seqOf(f.rel) >= s.nextSeq {
			unfinished++
		}
	}
	if unfinished > mostUnfinished { // an older MANIFEST was restored: those may be acknowledged
		s.untrusted = true
	}
	seen := map[string]bool{}
	for _, f := range files {
		g := live[f.rel]
		switch {
		case g != nil && f.size == g.Bytes:
			seen[f.rel] = true
		case g != nil:
			seen[f.rel] = true
			d := s.segmentDamage(g, min(f.size, g.Bytes), fmt.Sprintf("it is %d bytes long, %d were written", f.size, g.Bytes))
			if d.Moved, err = s.moveAside(f.rel); err != nil {
				return false, err
			}
			delete(s.live, g.Seq)
			s.noteDamage(d)
			changed = true
		case s.obsolete[f.rel] != nil:
		case strings.HasSuffix(f.rel, tmpSuffix), !s.untrusted && seqOf(f.rel) >= s.nextSeq:
			if err := s.fs.Remove(s.path(f.rel)); err != nil {
				return false, fmt.Errorf("remove unfinished commit: %w", err)
			}
			s.log.Info("removed the file of an unfinished commit", slog.String("file", f.rel))
		default:
			to, err := s.moveAside(f.rel)
			if err != nil {
				return false, err
			}
			s.nextSeq = max(s.nextSeq, seqOf(f.rel)+1)
			s.log.Warn("moved an unknown file aside", slog.String("file", f.rel), slog.String("to", to))
			changed = true
		}
	}
	for _, g := range live {
		if !seen[g.Rel] {
			delete(s.live, g.Seq)
			s.noteDamage(s.segmentDamage(g, 0, "the file is missing"))
			changed = true
		}
	}
	return changed, s.tidyQuarantine()
}

// tidyQuarantine removes what an unfinished commit left in quarantine/.
func (s *Store) tidyQuarantine() error {
	entries, err := s.fs.ReadDir(s.path(quarantineDir))
	if err != nil {
		return fmt.Errorf("list quarantine: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		if err := s.fs.Remove(s.path(path.Join(quarantineDir, e.Name()))); err != nil {
			return fmt.Errorf("tidy quarantine: %w", err)
		}
	}
	return nil
}

// seqOf reads the sequence number off a segment's path; 0 if it is none.
func seqOf(rel string) int64 {
	base, ok := strings.CutSuffix(path.Base(rel), ".parquet")
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(base, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// segmentPath is where a segment lives: by the UTC day of its first event.
func segmentPath(seq int64, first audit.Time) string {
	return path.Join(segmentsDir, first.Std().Format("2006/01/02"), fmt.Sprintf("%012d.parquet", seq))
}

// moveAside moves a file below the data directory to quarantine/ and makes that durable.
func (s *Store) moveAside(rel string) (string, error) {
	to := s.freeQuarantineName(path.Base(rel))
	if err := s.fs.Rename(s.path(rel), s.path(to)); err != nil {
		return "", fmt.Errorf("move %s aside: %w", rel, err)
	}
	for _, d := range []string{s.path(quarantineDir), filepath.Dir(s.path(rel))} {
		if err := s.fs.SyncDir(d); err != nil {
			return "", fmt.Errorf("move %s aside: %w", rel, err)
		}
	}
	return to, nil
}

// freeQuarantineName finds a name in quarantine/ that is not taken.
func (s *Store) freeQuarantineName(base string) string {
	for i := 0; ; i++ {
		rel := path.Join(quarantineDir, base)
		if i > 0 {
			rel += "." + strconv.Itoa(i)
		}
		if _, err := s.fs.Stat(s.path(rel)); err != nil {
			return rel
		}
	}
}

func (s *Store) segmentDamage(g *segment, offset int64, reason string) Damage {
	return Damage{
		File: g.Rel, Offset: offset, Length: g.Bytes - offset, Reason: reason,
		Seq: g.Seq, Rows: g.Rows, From: g.MinTime, To: g.MaxTime, At: audit.TimeOf(time.Now()),
	}
}

// rewriteManifest replaces the MANIFEST by one that holds what is live. s.writing
// is held (or the store is not open yet).
func (s *Store) rewriteManifest() error {
	s.mu.Lock()
	data, err := s.contents.checkpoint()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if s.manifest != nil {
		_ = s.manifest.Close() // what it holds is replaced
		s.manifest = nil
	}
	s.dirty = true
	if err := durable.WriteFile(s.fs, s.path(manifestName), data); err != nil {
		return err
	}
	if s.manifest, err = s.fs.Append(s.path(manifestName)); err != nil {
		return fmt.Errorf("open manifest: %w", err)
	}
	s.size, s.base, s.dirty = int64(len(data)), int64(len(data)), false
	return nil
}

// appendRecord makes r durable. s.writing is held. After an error it is not
// known whether r is; the next change rewrites the MANIFEST without it.
func (s *Store) appendRecord(r *record) error {
	if err := s.readyManifest(); err != nil {
		return err
	}
	line, err := encodeRecord(r)
	if err != nil {
		return err
	}
	s.dirty = true
	n, err := s.manifest.Write(line)
	s.size += int64(n)
	if err == nil {
		err = s.manifest.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(manifestName), err)
	}
	s.dirty = false
	return nil
}

// readyManifest rewrites the MANIFEST if it must be or if it has grown large.
func (s *Store) readyManifest() error {
	if s.dirty || s.manifest == nil || s.size > checkpointBytes && s.size > 4*s.base {
		return s.rewriteManifest()
	}
	return nil
}
