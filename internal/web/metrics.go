package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are this package's metrics. docs/metrics.md lists them.
type meters struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	follows  prometheus.Gauge
	events   prometheus.Counter
}

func newMeters(reg prometheus.Registerer) (*meters, error) {
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ktrail_http_requests_total", Help: "Requests by route and status; status 0 is one that its client dropped.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ktrail_http_request_duration_seconds", Help: "Time from a request to the end of its answer, by route; follow streams are left out.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ktrail_http_requests_in_flight", Help: "Requests being answered now, follow streams included.",
		}),
		follows: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ktrail_http_follow_streams", Help: "Open follow streams.",
		}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ktrail_http_events_sent_total", Help: "Events sent in answers, follow streams included.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.follows, m.events} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// measured remembers the status of an answer.
type measured struct {
	http.ResponseWriter
	status int
}

func (m *measured) WriteHeader(status int) {
	if m.status == 0 {
		m.status = status
	}
	m.ResponseWriter.WriteHeader(status)
}

func (m *measured) Write(p []byte) (int, error) {
	if m.status == 0 {
		m.status = http.StatusOK
	}
	return m.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (m *measured) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// measure counts and times requests. The route label is the pattern, never the
// path, which anyone may choose.
func (s *server) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := &measured{ResponseWriter: w}
		began := time.Now()
		s.meters.inFlight.Inc()
		defer func() {
			p := recover()
			s.meters.inFlight.Dec()
			_, route, _ := strings.Cut(r.Pattern, " ")
			if route == "" {
				route = "other"
			}
			status := m.status
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				status = 0
			}
			s.meters.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
			if !strings.HasSuffix(route, "/follow") {
				s.meters.duration.WithLabelValues(route).Observe(time.Since(began).Seconds())
			}
			if p != nil {
				panic(p)
			}
		}()
		next.ServeHTTP(m, r)
	})
}
