package api

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// encoded is a response in its binary form: parts that, one after the other, are
// the message. Telegrams are encoded once for all streams.
type encoded [][]byte

// codec is that of protocol buffers, and takes what is encoded already as it is.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	parts, ok := v.(*encoded)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	size := 0
	for _, p := range *parts {
		size += len(p)
	}
	// The one copy for this subscriber. gRPC gives the buffer back when it is sent.
	buffer := mem.DefaultBufferPool().Get(size)
	rest := *buffer
	for _, p := range *parts {
		rest = rest[copy(rest, p):]
	}
	return mem.BufferSlice{mem.NewBuffer(buffer, mem.DefaultBufferPool())}, nil
}
