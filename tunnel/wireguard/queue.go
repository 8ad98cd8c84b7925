package wireguard

// queueBytes bounds the memory of the packets that wait for a session.
const queueBytes = 64 << 10

// queue holds packets that wait for a session. When it is full, the oldest is dropped:
// what was asked last is wanted most.
type queue struct {
	limit   int // packets
	packets [][]byte
	size    int // bytes
}

// push keeps a copy.
func (q *queue) push(packet []byte) {
	if q.limit <= 0 || len(packet) > queueBytes {
		return
	}
	for len(q.packets) >= q.limit || q.size+len(packet) > queueBytes {
		q.pop()
	}
	q.packets = append(q.packets, append([]byte(nil), packet...))
	q.size += len(packet)
}

func (q *queue) empty() bool { return len(q.packets) == 0 }

// pop takes the oldest. There must be one.
func (q *queue) pop() []byte {
	packet := q.packets[0]
	q.packets[0] = nil
	q.packets = q.packets[1:]
	q.size -= len(packet)
	if len(q.packets) == 0 {
		q.packets = nil
	}
	return packet
}

func (q *queue) drop() { q.packets, q.size = nil, 0 }
