// Command proxy prints what ktrail proxy adds to the time of a request, against a bare
// [httputil.ReverseProxy]: p50, p99 and processor time, as ratios in one run.
//
// The API server, the bare proxy, a second bare one and ktrail proxy in its modes are each a
// process, as they are in use; the client is this one, which does next to nothing itself. All run this
// one executable: a proxy in a program of its own, whose code no other process keeps in the caches, is a
// fifth slower on a busy machine whatever it does. All are asked by turns, in slices of some hundredths of a second in random order, hundreds of times.
// A ratio is taken between slices of one round, so what neighbours on the machine do
// meets all sides alike, and the median of the rounds is printed with the interval in which it
// is with 95 % certainty. The second bare proxy is the control: a run in which it is not 1.00
// to a hundredth or two tells about the machine and not about ktrail.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ktrail/ktrail/internal/cli"
)

type options struct {
	size   int
	plain  bool
	only   string
	budget time.Duration
	extra  string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "proxy" {
		os.Exit(cli.Main()) // this is ktrail
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "role-") {
		if err := role(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench/proxy:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.size, "size", 16<<10, "bytes of the API server's answer")
	flag.BoolVar(&o.plain, "plain", false, "no TLS, which hides a part of what is added")
	flag.StringVar(&o.only, "only", "", "numbers of connections, such as 1,64,512")
	flag.DurationVar(&o.budget, "time", 45*time.Second, "for each number of connections")
	flag.StringVar(&o.extra, "sides", "batch,blocking", "modes of ktrail proxy: batch, one (batch without RequestReceived), blocking, none (nothing recorded); mode@program is another program's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench/proxy:", err)
		os.Exit(1)
	}
}

// lengths are the numbers of connections, and how long a slice is: many requests of each connection.
var lengths = []struct {
	connections int
	slice       time.Duration
}{{1, 50 * time.Millisecond}, {64, 60 * time.Millisecond}, {512, 200 * time.Millisecond}}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	sides, end, err := startSides(ctx, o)
	defer func() {
		if failed := end(); err == nil {
			err = failed
		}
	}()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "connections\tproxy\tp50\tratio\tp99\tratio\tprocessor\tratio\trounds")
	for _, l := range lengths {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), fmt.Sprint(l.connections)) {
			continue
		}
		if err := measure(ctx, sides, l.connections, l.slice, o.budget); err != nil {
			return err
		}
		for i := range sides {
			s := &sides[i]
			fmt.Fprintf(table, "%d\t%s\t%v\t%s\t%v\t%s\t%v\t%s\t%d\n", l.connections, s.name,
				middle(s.rounds, p50).Round(time.Microsecond), against(&sides[0], s, p50),
				middle(s.rounds, p99).Round(time.Microsecond), against(&sides[0], s, p99),
				middle(s.rounds, processor).Round(100*time.Nanosecond), against(&sides[0], s, processor), len(s.rounds))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// What is measured in a slice.
const (
	p50 = iota
	p99
	processor // time of the proxy alone, a request
	measures
)

type slice [measures]time.Duration

// measure fills the rounds of all sides.
func measure(ctx context.Context, sides []side, connections int, length, budget time.Duration) error {
	for i := range sides {
		s := &sides[i]
		s.rounds = nil
		if err := s.dial(ctx, connections); err != nil {
			return err
		}
		defer s.hangUp()
	}
	order := make([]int, len(sides))
	for i := range order {
		order[i] = i
	}
	deadline := time.Now().Add(budget)
	for round := -3; time.Now().Before(deadline); round++ { // the first warm up
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			s := &sides[i]
			before, err := s.processor()
			if err != nil {
				return err
			}
			took, err := s.ask(ctx, length)
			if err != nil {
				return fmt.Errorf("ask %s: %w", s.name, err)
			}
			after, err := s.processor()
			if err != nil {
				return err
			}
			if round < 0 {
				continue
			}
			slices.Sort(took)
			s.rounds = append(s.rounds, slice{quantile(took, 0.5), quantile(took, 0.99), (after - before) / time.Duration(len(took))})
		}
	}
	return ctx.Err()
}

func quantile[T any](sorted []T, q float64) T {
	return sorted[int(q*float64(len(sorted)-1))]
}

// middle is the median of a measure.
func middle(rounds []slice, of int) time.Duration {
	all := make([]time.Duration, len(rounds))
	for i := range rounds {
		all[i] = rounds[i][of]
	}
	slices.Sort(all)
	return quantile(all, 0.5)
}

// against is the median of the ratios between slices of one round, and where it is with 95 % certainty
// (order statistics: whatever the distribution).
func against(base, s *side, of int) string {
	if base == s {
		return "1"
	}
	ratios := make([]float64, len(s.rounds))
	for i := range ratios {
		ratios[i] = float64(s.rounds[i][of]) / float64(max(1, base.rounds[i][of]))
	}
	slices.SortFunc(ratios, cmp.Compare[float64])
	n := float64(len(ratios))
	off := 0.98 * math.Sqrt(n)
	low, high := max(0, int(n/2-off)), min(len(ratios)-1, int(n/2+off))
	return fmt.Sprintf("%.2f (%.2f-%.2f)", quantile(ratios, 0.5), ratios[low], ratios[high])
}
