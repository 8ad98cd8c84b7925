package main

import (
	"errors"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
)

// The fields of the contract that a subscriber here looks at; the rest of a
// response is skipped, so that receiving costs little beside what is measured.
const (
	responseTelegrams = 1 // StreamTelegramsResponse
	responseGap       = 2
	gapCount          = 5 // Gap
	telegramBuilding  = 1 // Telegram
	telegramEpoch     = 2
	telegramNumber    = 3
	telegramRaw       = 8
)

// response is a StreamTelegramsResponse as it came.
type response []byte

// rawCodec leaves responses as they are.
type rawCodec struct{}

// Name is that of the codec that the gateway uses.
func (rawCodec) Name() string { return "proto" }

// Marshal encodes the request.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, errors.New("want a message")
	}
	b, err := proto.Marshal(message)
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

// Unmarshal copies a response into the memory of the one before.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*response)
	if !ok {
		return errors.New("want a *response")
	}
	if n := data.Len(); cap(*r) < n {
		*r = make(response, n)
	}
	*r = (*r)[:data.Len()]
	data.CopyTo(*r)
	return nil
}

// eachField goes through a message's fields; varints come as number, all that has
// a length as content.
func eachField(message []byte, found func(field protowire.Number, number uint64, content []byte)) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var number uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		found(field, number, content)
	}
	return nil
}

// each goes through the telegrams of a response, and gives how many are missing
// besides.
func (r response) each(telegram func(encoded []byte)) (missing uint64, err error) {
	var inner error
	err = eachField(r, func(field protowire.Number, _ uint64, content []byte) {
		switch field {
		case responseTelegrams:
			telegram(content)
		case responseGap:
			inner = eachField(content, func(field protowire.Number, number uint64, _ []byte) {
				if field == gapCount {
					missing += number
				}
			})
		}
	})
	return missing, errors.Join(err, inner)
}

// seen is what a subscriber looks at in a telegram.
type seen struct {
	building      []byte
	epoch, number uint64
	sent          int64 // the stamp; 0 where there is none
}

// look reads an encoded telegram.
func look(encoded []byte) (s seen, err error) {
	err = eachField(encoded, func(field protowire.Number, number uint64, content []byte) {
		switch field {
		case telegramBuilding:
			s.building = content
		case telegramEpoch:
			s.epoch = number
		case telegramNumber:
			s.number = number
		case telegramRaw:
			if len(content) == stamp.Size {
				s.sent, _ = stamp.Read(content)
			}
		}
	})
	return s, err
}
