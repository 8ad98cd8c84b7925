package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// mqttSource is an MQTT 3.1.1 client that is as small as can be, QoS 0: the packets
// are paho's, the connection is read and written directly.
type mqttSource struct {
	conn net.Conn
	in   *bufio.Reader
}

// mqttBuffer holds some hundred telegrams.
const mqttBuffer = 64 << 10

var mqttClients atomic.Uint64

// connectMQTT says hello to a broker.
func connectMQTT(ctx context.Context, broker string) (*mqttSource, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return nil, err
	}
	m := &mqttSource{conn, bufio.NewReaderSize(conn, mqttBuffer)}
	hello := packet[*packets.ConnectPacket](packets.Connect)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession = "MQTT", 4, true
	hello.ClientIdentifier = fmt.Sprintf("loadtest-%d-%d", os.Getpid(), mqttClients.Add(1))
	answer, err := ask[*packets.ConnackPacket](m, hello)
	if err == nil && answer.ReturnCode != packets.Accepted {
		err = fmt.Errorf("the broker refuses: %w", packets.ConnErrors[answer.ReturnCode])
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// openMQTT subscribes to everything, and returns when the broker has seen it.
func openMQTT(ctx context.Context, broker string) (source, error) {
	m, err := connectMQTT(ctx, broker)
	if err != nil {
		return nil, err
	}
	subscribe := packet[*packets.SubscribePacket](packets.Subscribe)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{"#"}, []byte{0}
	if _, err := ask[*packets.SubackPacket](m, subscribe); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// packet makes a packet of a type whose number is given.
func packet[P packets.ControlPacket](number byte) P {
	p, ok := packets.NewControlPacket(number).(P)
	if !ok {
		panic(fmt.Sprintf("mqtt: packet %d is no %T", number, p))
	}
	return p
}

// ask sends a packet and waits for the answer of the given type.
func ask[P packets.ControlPacket](m *mqttSource, question packets.ControlPacket) (answer P, err error) {
	if err := question.Write(m.conn); err != nil {
		return answer, err
	}
	got, err := packets.ReadPacket(m.in)
	if err != nil {
		return answer, err
	}
	answer, ok := got.(P)
	if !ok {
		return answer, fmt.Errorf("the broker answers %s with %s", question, got)
	}
	return answer, nil
}

func (m *mqttSource) next(telegram func(encoded []byte)) (missing uint64, err error) {
	got, err := packets.ReadPacket(m.in)
	if err != nil {
		return 0, err
	}
	if p, ok := got.(*packets.PublishPacket); ok {
		telegram(p.Payload)
	}
	return 0, nil
}

func (m *mqttSource) close() error { return m.conn.Close() }

// publishCmd publishes telegrams at an MQTT broker, as a process of its own.
type publishCmd struct {
	Broker string `required:""`
}

// Run publishes until the parent is gone.
func (c *publishCmd) Run(ctx context.Context, s *streams) error {
	broker, err := connectMQTT(ctx, c.Broker)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Publisher{broker: broker, begin: make(chan Publication)}
	published := make(chan error, 1)
	go func() { published <- p.run(ctx) }()
	err = control.Serve(ctx, s.in, s.out, p)
	cancel()
	// A write that the broker holds up ends with the connection.
	err = errors.Join(err, broker.close())
	if failed := <-published; p.failed.Load() != nil {
		err = errors.Join(err, failed)
	}
	return err
}

// Publication is what is published.
type Publication struct {
	// Example is an encoded knxfleet.v1.Telegram; the others are like it.
	Example []byte
	// Buildings take turns.
	Buildings int
	PerSecond float64
}

// Publisher is its end of package control.
type Publisher struct {
	broker    *mqttSource
	begin     chan Publication
	published atomic.Uint64
	failed    atomic.Pointer[error]
}

// Begin starts publishing, once.
func (p *Publisher) Begin(what Publication, _ *control.Nothing) error { //nolint:unparam // the form of net/rpc
	p.begin <- what
	return nil
}

// Published counts what the broker has taken; it fails if publishing has.
func (p *Publisher) Published(_ control.Nothing, published *uint64) error {
	*published = p.published.Load()
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *Publisher) run(ctx context.Context) error {
	var what Publication
	select {
	case what = <-p.begin:
	case <-ctx.Done():
		return nil
	}
	err := p.publish(ctx, what)
	if err != nil && ctx.Err() == nil {
		p.failed.Store(&err)
	}
	return err
}

// publish goes at an even pace, and makes up for what is late.
func (p *Publisher) publish(ctx context.Context, what Publication) error {
	var telegram knxfleetv1.Telegram
	if err := proto.Unmarshal(what.Example, &telegram); err != nil {
		return fmt.Errorf("the example: %w", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		due := began.Add(time.Duration(float64(i) / what.PerSecond * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		telegram.Building = buildingID(i%what.Buildings + 1)
		telegram.Number++
		sent := stamp.Now()
		telegram.Raw, telegram.Value = stamp.Append(nil, sent), strconv.FormatInt(sent, 10)
		encoded, err := proto.Marshal(&telegram)
		if err != nil {
			return err
		}
		message := packet[*packets.PublishPacket](packets.Publish)
		message.TopicName = "knx/" + telegram.GetBuilding() + "/" + telegram.GetDestination()
		message.Payload = encoded
		if err := message.Write(p.broker.conn); err != nil {
			return err
		}
		p.published.Add(1)
	}
	return nil
}
