package main

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/tunnel"
)

// metrics collects the gateway's figures when somebody asks for them: nothing is
// counted twice, and the hot path knows nothing of Prometheus.
type metrics struct {
	fleet    *fleet.Fleet
	hub      *fleet.Hub
	exchange *tunnel.Exchange
}

var (
	buildingsMetric = prometheus.NewDesc("knxfleet_buildings", "Buildings in each state.", []string{"state"}, nil)
	publishedMetric = prometheus.NewDesc("knxfleet_telegrams_total", "Telegrams handed to the fan-out.", nil, nil)
	streamsMetric   = prometheus.NewDesc("knxfleet_streams", "Open telegram streams.", nil, nil)
	droppedMetric   = prometheus.NewDesc("knxfleet_stream_dropped_telegrams_total", "Telegrams that slow streams were told as a gap.", nil, nil)
	tunnelsMetric   = prometheus.NewDesc("knxfleet_tunnels", "Open WireGuard tunnels.", nil, nil)
	datagramsMetric = prometheus.NewDesc("knxfleet_tunnel_datagrams_total", "UDP datagrams of all tunnels.", []string{"direction"}, nil)
	bytesMetric     = prometheus.NewDesc("knxfleet_tunnel_bytes_total", "Bytes in the UDP datagrams of all tunnels.", []string{"direction"}, nil)
	refusedMetric   = prometheus.NewDesc("knxfleet_tunnel_refused_datagrams_total", "Received datagrams that no tunnel got.", []string{"reason"}, nil)
	errorsMetric    = prometheus.NewDesc("knxfleet_tunnel_socket_errors_total", "Errors of the tunnels' sockets.", []string{"operation"}, nil)
)

// newMetrics is the handler of /metrics.
func newMetrics(all *fleet.Fleet, hub *fleet.Hub, exchange *tunnel.Exchange) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		&metrics{all, hub, exchange},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildingsMetric, publishedMetric, streamsMetric, droppedMetric, tunnelsMetric, datagramsMetric, bytesMetric, refusedMetric, errorsMetric,
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
	counter(errorsMetric, x.ReadErrors, "read")
	counter(errorsMetric, x.SendErrors, "send")
}
