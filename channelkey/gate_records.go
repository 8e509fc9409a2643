package channelkey

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Store keeps the records of a Gate over a restart. Keys are at most 16,387 bytes.
// A Store serves one Gate at a time, whose goroutines call it at once.
type Store interface {
	// Put records a key until a time, in place of an earlier time; a time that has
	// passed removes it. When Put returns nil, the record survives a crash.
	Put(key []byte, until time.Time) error
	// Load calls yield with every record whose time has not passed.
	Load(yield func(key []byte, until time.Time) error) error
}

// Revocation bars people from a time on: it puts out who is inside and refuses who
// comes. Set one of Card and Certificate, or User, Channel or both (the user in that
// channel).
type Revocation struct {
	Card        CardID
	Certificate CertificateID
	User        User
	Channel     string
	// Until is when the revocation ends by itself, in whole seconds.
	Until time.Time
}

// Records are kept under a byte for their kind and what it is about.
const (
	recordSpent       = 's' // a replaced card
	recordCard        = 'c' // revoked …
	recordCertificate = 'k'
	recordUser        = 'u'
	recordChannel     = 'r'
	recordPerson      = 'p' // u16 length of the channel ‖ channel ‖ user
)

// maxRevoked is the longest name, in bytes, that can be revoked.
const maxRevoked = 8 << 10

// spentMargin is how many seconds longer than a card's own life it is remembered
// that it was replaced, for clocks that are set back.
const spentMargin = 60

func spentKey(card CardID) string { return string(recordSpent) + string(card[:]) }

func personKey(channel string, user User) string {
	n := binary.BigEndian.AppendUint16([]byte{recordPerson}, uint16(len(channel)))
	return string(n) + channel + string(user)
}

// key returns the record of a revocation.
func (r *Revocation) key() (string, error) {
	card, cert := r.Card != CardID{}, r.Certificate != CertificateID{}
	named := r.User != "" || r.Channel != ""
	switch {
	case len(r.User) > maxRevoked || len(r.Channel) > maxRevoked:
		return "", fmt.Errorf("channelkey: revocation has a name of more than %d bytes", maxRevoked)
	case card && !cert && !named:
		return string(recordCard) + string(r.Card[:]), nil
	case cert && !card && !named:
		return string(recordCertificate) + string(r.Certificate[:]), nil
	case card || cert || !named:
		return "", errors.New("channelkey: revocation is of nothing or of too much, set one of Card and Certificate, or User, Channel or both")
	case r.Channel == "":
		return string(recordUser) + string(r.User), nil
	case r.User == "":
		return string(recordChannel) + r.Channel, nil
	}
	return personKey(r.Channel, r.User), nil
}

// revocation reads a record; false if it is none of a revocation.
func revocation(key string, until int64) (r Revocation, ok bool) {
	r.Until = time.Unix(until, 0)
	kind, value := key[0], key[1:]
	switch kind {
	case recordCard:
		copy(r.Card[:], value)
	case recordCertificate:
		copy(r.Certificate[:], value)
	case recordUser:
		r.User = User(value)
	case recordChannel:
		r.Channel = value
	case recordPerson:
		n := int(value[0])<<8 | int(value[1])
		r.Channel, r.User = value[2:2+n], User(value[2+n:])
	default:
		return r, false
	}
	return r, true
}

// Revokes reports whether a record of a [Store] is a revocation, and no card that was replaced.
func Revokes(key []byte) bool {
	return validRecord(string(key)) && key[0] != recordSpent
}

// validRecord reports whether a key from a store has a form that is known.
func validRecord(key string) bool {
	if len(key) < 2 {
		return false
	}
	switch key[0] {
	case recordSpent, recordCard, recordCertificate:
		return len(key) == 1+16
	case recordUser, recordChannel:
		return true
	case recordPerson:
		return len(key) >= 3 && len(key)-3 >= int(key[1])<<8|int(key[2])
	}
	return false
}

// records remembers keys until a time.
type records struct {
	until map[string]int64
	kinds [256]int // how many there are of each kind
	old   expiryHeap
}

type expiry struct {
	until int64
	key   string
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = expiry{}
	*h = (*h)[:last]
	return x
}

func (r *records) len() int { return len(r.until) }

// put remembers a key. A time in the past is remembered too, until expire.
func (r *records) put(key string, until int64) {
	if r.until == nil {
		r.until = map[string]int64{}
	}
	if _, ok := r.until[key]; !ok {
		r.kinds[key[0]]++
	}
	r.until[key] = until
	if len(r.old) >= 2*len(r.until)+64 { // most entries are of an earlier time
		r.old = r.old[:0]
		for k, u := range r.until {
			r.old = append(r.old, expiry{u, k})
		}
		heap.Init(&r.old)
		return
	}
	heap.Push(&r.old, expiry{until, key})
}

func (r *records) drop(key string) {
	if _, ok := r.until[key]; ok {
		delete(r.until, key)
		r.kinds[key[0]]--
	}
}

// expire forgets a batch of what is over and reports whether there may be more.
func (r *records) expire(now int64) bool {
	for range batch {
		if len(r.old) == 0 || r.old[0].until > now {
			return false
		}
		e := heap.Pop(&r.old).(expiry)
		if r.until[e.key] <= now {
			r.drop(e.key)
		}
	}
	return true
}

func (r *records) has(key []byte, now int64) bool {
	until, ok := r.until[string(key)]
	return ok && now < until
}

func (r *records) spent(card CardID, now int64) bool {
	if r.kinds[recordSpent] == 0 {
		return false
	}
	var buf [17]byte
	return r.has(append(append(buf[:0], recordSpent), card[:]...), now)
}

// revoked reports whether anything about a session is revoked.
func (r *records) revoked(card CardID, cert CertificateID, channel string, user User, now int64) bool {
	var buf [512]byte
	key := func(kind byte) []byte { return append(buf[:0], kind) }
	return r.kinds[recordCard] > 0 && r.has(append(key(recordCard), card[:]...), now) ||
		r.kinds[recordCertificate] > 0 && r.has(append(key(recordCertificate), cert[:]...), now) ||
		r.kinds[recordUser] > 0 && r.has(append(key(recordUser), user...), now) ||
		r.kinds[recordChannel] > 0 && r.has(append(key(recordChannel), channel...), now) ||
		r.kinds[recordPerson] > 0 && r.has([]byte(personKey(channel, user)), now)
}

// load reads what a store remembers.
func (r *records) load(s Store, now int64, limit int) error {
	if s == nil {
		return nil
	}
	err := s.Load(func(key []byte, until time.Time) error {
		switch {
		case !validRecord(string(key)):
			return errors.New("a record has an unknown form: it is of a newer version, or damaged")
		case r.len() >= limit:
			return fmt.Errorf("there are more than %d records, raise GateConfig.MaxRecords", limit)
		}
		if u := until.Unix(); u > now {
			r.put(string(key), u)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("channelkey: gate cannot read its store: %w", err)
	}
	return nil
}

// Revoke bars what r names until r.Until, and puts out at once who is inside. A
// later Revoke of the same sets another end; one that has passed lifts it. If the
// Store fails, the revocation holds until a restart and the error says so.
func (g *Gate) Revoke(r Revocation) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	until, lift := g.until(r.Until)
	if !lift {
		if err := g.bar(key, until); err != nil {
			return err
		}
	}
	if lift {
		until = r.Until.Unix() // has passed by any clock of ours
	}
	if g.cfg.Store != nil {
		if err := g.cfg.Store.Put([]byte(key), time.Unix(until, 0)); err != nil {
			return fmt.Errorf("channelkey: gate cannot record the revocation, a restart would forget it, try again: %w", err)
		}
	}
	if lift {
		g.mu.Lock()
		g.records.drop(key)
		g.mu.Unlock()
	}
	return nil
}

// until reads the end of a record, which was reckoned by a wall clock, and reports whether
// it lifts the record. Where this gate's clock was set back, the record lasts so much longer.
func (g *Gate) until(t time.Time) (until int64, lift bool) {
	behind := g.time.Behind()
	until = t.Add(behind).Unix()
	return until, until <= g.time.Now().Unix()
}

// bar remembers a revocation and puts out whom it meets.
func (g *Gate) bar(key string, until int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if _, known := g.records.until[key]; !known && g.records.len() >= g.cfg.MaxRecords {
		return refuse(Full, 0)
	}
	g.records.put(key, until)
	now := g.time.Now()
	r, _ := revocation(key, until)
	for s := range g.met(&r) {
		g.putOut(s, Revoked, now)
	}
	if g.gone != nil {
		g.wakeClock()
	}
	return nil
}

// met yields the sessions that a revocation is about; they may be removed meanwhile.
// A user, and a card that is not shared, are looked up; the others take a look at all
// who are inside.
func (g *Gate) met(r *Revocation) iter.Seq[*session] {
	return func(yield func(*session) bool) {
		switch {
		case r.Card != CardID{}:
			if s := g.holder(r.Card); s != nil {
				yield(s)
				return
			}
			for _, s := range g.people { // who came in with a card that is shared
				if !s.gone && s.shared && s.card == r.Card && !yield(s) {
					return
				}
			}
		case r.User != "":
			for _, room := range g.rooms {
				s := g.session(person{room, r.User})
				if s != nil && (r.Channel == "" || r.Channel == room.channel) && !yield(s) {
					return
				}
			}
		default:
			for _, s := range g.people {
				met := s.room.channel == r.Channel
				if r.Channel == "" {
					met = g.certificate(s) == r.Certificate
				}
				if met && !s.gone && !yield(s) {
					return
				}
			}
		}
	}
}

// Revocations returns what is revoked now, in no order.
func (g *Gate) Revocations() []Revocation {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.time.Now().Unix()
	var all []Revocation
	for key, until := range g.records.until {
		if r, ok := revocation(key, until); ok && now < until {
			all = append(all, r)
		}
	}
	return all
}
