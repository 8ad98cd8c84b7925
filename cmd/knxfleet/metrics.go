package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/knxfleet/knxfleet/api"
	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/tunnel"
)

// metrics collects the gateway's figures when somebody asks for them: nothing is
// counted twice, and the hot path knows nothing of Prometheus.
type metrics struct {
	fleet    *fleet.Fleet
	hub      *fleet.Hub
	exchange *tunnel.Exchange
	journal  *journal.Journal
	server   *api.Server
}

var (
	buildingsMetric = prometheus.NewDesc("knxfleet_buildings", "Buildings in each state.", []string{"state"}, nil)
	publishedMetric = prometheus.NewDesc("knxfleet_telegrams_total", "Telegrams handed to the fan-out.", nil, nil)
	streamsMetric   = prometheus.NewDesc("knxfleet_streams", "Open telegram streams.", nil, nil)
	droppedMetric   = prometheus.NewDesc("knxfleet_stream_dropped_telegrams_total", "Telegrams that found the queue of a slow stream full; most are read again from the journal.", nil, nil)
	gapsMetric      = prometheus.NewDesc("knxfleet_stream_gaps_total", "Gaps that streams were told.", []string{"cause"}, nil)
	writtenMetric   = prometheus.NewDesc("knxfleet_journal_written_telegrams_total", "Telegrams that the journal has stored.", nil, nil)
	lostMetric      = prometheus.NewDesc("knxfleet_journal_lost_telegrams_total", "Telegrams that the journal could not store.", nil, nil)
	queuedMetric    = prometheus.NewDesc("knxfleet_journal_queued_records", "Records that wait for the journal's store.", nil, nil)
	failingMetric   = prometheus.NewDesc("knxfleet_journal_failing_seconds", "For how long the journal's store has been failing; 0 while it does not.", nil, nil)
	recordsMetric   = prometheus.NewDesc("knxfleet_journal_records", "Records in the journal.", nil, nil)
	diskMetric      = prometheus.NewDesc("knxfleet_journal_bytes", "What the journal takes on disk.", nil, nil)
	sentMetric      = prometheus.NewDesc("knxfleet_sent_telegrams_total", "Writes and reads sent, by what the bus said.", []string{"outcome"}, nil)
	unsentMetric    = prometheus.NewDesc("knxfleet_bus_queue_dropped_total", "Writes and reads that found their building's queue full, or were not sent in time.", nil, nil)
	waitingMetric   = prometheus.NewDesc("knxfleet_bus_queue_waiting", "Writes and reads that wait for their turn, in all buildings.", nil, nil)
	tunnelsMetric   = prometheus.NewDesc("knxfleet_tunnels", "Open WireGuard tunnels.", nil, nil)
	datagramsMetric = prometheus.NewDesc("knxfleet_tunnel_datagrams_total", "UDP datagrams of all tunnels.", []string{"direction"}, nil)
	bytesMetric     = prometheus.NewDesc("knxfleet_tunnel_bytes_total", "Bytes in the UDP datagrams of all tunnels.", []string{"direction"}, nil)
	refusedMetric   = prometheus.NewDesc("knxfleet_tunnel_refused_datagrams_total", "Received datagrams that no tunnel got.", []string{"reason"}, nil)
	reopenedMetric  = prometheus.NewDesc("knxfleet_tunnel_sockets_reopened_total", "Tunnel sockets that failed and were opened anew.", nil, nil)
	errorsMetric    = prometheus.NewDesc("knxfleet_tunnel_socket_errors_total", "Errors of the tunnels' sockets.", []string{"operation"}, nil)
)

// handler answers /metrics.
func (m *metrics) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		m,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildingsMetric, publishedMetric, streamsMetric, droppedMetric, gapsMetric, tunnelsMetric, datagramsMetric, bytesMetric, refusedMetric, errorsMetric, reopenedMetric,
		sentMetric, unsentMetric, waitingMetric, writtenMetric, lostMetric, queuedMetric, failingMetric, recordsMetric, diskMetric,
	} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(values chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		values <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		values <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	states := m.fleet.States()
	for _, s := range fleet.States() {
		gauge(buildingsMetric, states[s], strings.ToLower(s.String()))
	}
	h := m.hub.Stats()
	counter(publishedMetric, h.Published)
	gauge(streamsMetric, h.Subscribers)
	counter(droppedMetric, h.Dropped)
	for cause, n := range m.server.Gaps() {
		counter(gapsMetric, n, strings.ToLower(cause))
	}
	sent := m.fleet.Sent()
	for outcome, n := range sent.Outcomes {
		counter(sentMetric, n, strings.ToLower(outcome.String()))
	}
	counter(unsentMetric, sent.Dropped)
	gauge(waitingMetric, sent.Waiting)
	m.collectJournal(gauge, counter)
	x := m.exchange.Stats()
	gauge(tunnelsMetric, x.Tunnels)
	counter(datagramsMetric, x.RxDatagrams, "received")
	counter(datagramsMetric, x.TxDatagrams, "sent")
	counter(bytesMetric, x.RxBytes, "received")
	counter(bytesMetric, x.TxBytes, "sent")
	counter(refusedMetric, x.Malformed, "malformed")
	counter(refusedMetric, x.UnknownIndex, "unknown_session")
	counter(refusedMetric, x.UnknownInitiator, "unknown_initiator")
	counter(refusedMetric, x.RateLimited, "rate_limited")
	counter(refusedMetric, x.QueueFull, "queue_full")
	counter(refusedMetric, x.Flooded, "flooded")
	counter(errorsMetric, x.ReadErrors, "read")
	counter(errorsMetric, x.SendErrors, "send")
	counter(reopenedMetric, x.Reopened)
}

// scrapeTimeout bounds what is asked of the store.
const scrapeTimeout = 2 * time.Second

func (m *metrics) collectJournal(gauge func(*prometheus.Desc, int, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	if m.journal.Off() {
		return
	}
	s := m.journal.Stats()
	counter(writtenMetric, s.Written)
	counter(lostMetric, s.Lost)
	gauge(queuedMetric, s.Queued)
	failing := 0
	if !s.FailingSince.IsZero() {
		failing = int(time.Since(s.FailingSince)/time.Second) + 1
	}
	gauge(failingMetric, failing)
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	// A store that does not answer leaves these out.
	if kept, err := m.journal.Kept(ctx); err == nil {
		gauge(recordsMetric, int(kept.Records))
		gauge(diskMetric, int(kept.Bytes))
	}
}
