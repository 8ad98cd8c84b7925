package fleet

import "slices"

// startQueue is the buildings whose start waits for its turn: those that a subscriber
// waits for first, and then in the order in which they came. It is a plain data
// structure of the fleet's loop.
type startQueue struct {
	waitedFor, rest []string
	queued          map[string]bool
	// looked is the hub's subscribers as they were when the kinds were told apart.
	looked *[]*Subscription
}

func newStartQueue() *startQueue { return &startQueue{queued: make(map[string]bool)} }

// add enters a building, at the end of its kind, unless it is there.
func (q *startQueue) add(id string, waitedFor bool) {
	if q.queued[id] {
		return
	}
	q.queued[id] = true
	if waitedFor {
		q.waitedFor = append(q.waitedFor, id)
	} else {
		q.rest = append(q.rest, id)
	}
}

// sort tells the kinds apart anew when the subscribers have changed.
func (q *startQueue) sort(subscribers *[]*Subscription, waitedFor func(id string) bool) {
	if q.looked == subscribers {
		return
	}
	q.looked = subscribers
	all := slices.Concat(q.waitedFor, q.rest)
	q.waitedFor, q.rest = nil, nil
	for _, id := range all {
		if waitedFor(id) {
			q.waitedFor = append(q.waitedFor, id)
		} else {
			q.rest = append(q.rest, id)
		}
	}
}

// first is the building whose turn is next; false for none.
func (q *startQueue) first() (string, bool) {
	switch {
	case len(q.waitedFor) > 0:
		return q.waitedFor[0], true
	case len(q.rest) > 0:
		return q.rest[0], true
	default:
		return "", false
	}
}

// drop takes the first building out.
func (q *startQueue) drop() {
	queue := &q.rest
	if len(q.waitedFor) > 0 {
		queue = &q.waitedFor
	}
	if len(*queue) == 0 {
		return
	}
	delete(q.queued, (*queue)[0])
	(*queue)[0] = ""
	*queue = (*queue)[1:]
}
