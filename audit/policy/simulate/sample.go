package simulate

import (
	"compress/gzip"
	"math/bits"
)

// sample is a part of the output, compressed to learn how well it compresses. Which
// blocks are in it depends on the input alone, not on who happens to read them.
type sample struct {
	open     bool
	buf      []byte
	zip      *gzip.Writer
	from, to int64 // bytes before and after
}

// sampleBlock is what is taken of a block at most; gzip looks back 32 KiB only.
const sampleBlock = 512 << 10

// begin closes a block and takes the next if its number is below two or a power of
// two: of any log a few, from its beginning to its end.
func (s *sample) begin(block int) {
	s.close()
	s.open = block >= 0 && bits.OnesCount(uint(block)) <= 1
}

func (s *sample) close() {
	if len(s.buf) > 0 {
		out := counter(0)
		if s.zip == nil {
			s.zip = gzip.NewWriter(&out)
		} else {
			s.zip.Reset(&out)
		}
		in := s.buf[:min(len(s.buf), sampleBlock)]
		_, _ = s.zip.Write(in) // a counter takes everything
		_ = s.zip.Close()
		s.from += int64(len(in))
		s.to += int64(out)
	}
	s.buf = s.buf[:0]
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
