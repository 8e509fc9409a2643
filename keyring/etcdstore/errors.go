package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chanseal/chanseal/keyring"
)

// ErrRefused says that etcd does not let the user in, or not to these keys.
var ErrRefused = errors.New("etcd refuses the user")

// errUncertain ends an operation of which nobody knows whether it was done.
var errUncertain = errors.New("etcd's answer was lost, and others changed the record since: the change may have been made")

// An attempt has a twelfth of an operation's time, and in its second half a quarter: a
// member that does not answer must not use it up. What a follower passes on to a leader
// that died is lost without an answer, until there is another leader.
const (
	shortTry = 12
	longTry  = 4
)

// retry runs an operation until it is done, fails for good, or its time is over, on
// the member that answered last, and then on the next ones. again says that an
// attempt before may have been carried out.
func (s *Store) retry(ctx context.Context, op func(ctx context.Context, c *clientv3.Client, again bool) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.done.Err() != nil {
		return keyring.ErrClosed
	}
	all, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	s.why.Store(nil)
	var last error
	again := false
	begin := time.Now()
	for try := 1; ; try++ {
		limit := s.o.Timeout / shortTry
		if time.Since(begin) > s.o.Timeout/2 {
			limit = s.o.Timeout / longTry
		}
		i := s.now.Load()
		c, err := s.members[i].connect(limit)
		if err == nil {
			one, cancel := context.WithTimeout(all, limit)
			err = op(one, c, again)
			cancel()
			again = true
		}
		if err == nil {
			return nil
		}
		if !transient(err) {
			return s.explain(err)
		}
		s.now.CompareAndSwap(i, (i+1)%uint32(len(s.members)))
		if !errors.Is(err, context.DeadlineExceeded) {
			last = err
		}
		var pause time.Duration // after each round
		if try%len(s.members) == 0 {
			pause = 20*time.Millisecond + rand.N(60*time.Millisecond)
		}
		select {
		case <-all.Done():
		case <-s.done.Done():
		case <-time.After(pause):
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.done.Err() != nil:
			return keyring.ErrClosed
		case all.Err() != nil:
			return s.unreachable(last)
		}
	}
}

// transient reports whether another attempt, on another member, may do better.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	code := status.Code(err)
	if e := (rpctypes.EtcdError{}); errors.As(err, &e) {
		code = e.Code()
	} else if _, ok := status.FromError(err); !ok {
		return false
	}
	switch {
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled, code == codes.Aborted,
		code == codes.Internal, code == codes.Unknown:
		return true
	}
	return errors.Is(err, rpctypes.ErrTooManyRequests)
}

// where names the ring for messages.
func (s *Store) where() string {
	return Scheme + strings.Join(s.o.Endpoints, ",") + strings.TrimSuffix(s.o.Prefix, "/")
}

func (s *Store) unreachable(last error) error {
	why := ""
	if known := s.why.Load(); known != nil {
		why = ": " + *known
	} else if last != nil && !errors.Is(last, context.DeadlineExceeded) {
		why = ": " + reason(last)
	}
	return fmt.Errorf("%w: endpoints %s gave no answer of a majority within %v%s", keyring.ErrUnreachable, strings.Join(s.o.Endpoints, ", "), s.o.Timeout, why)
}

// reason is the part of an error of gRPC that says something.
func reason(err error) string {
	text := status.Convert(err).Message()
	if i := strings.LastIndex(text, "latest balancer error: "); i >= 0 {
		text = text[i+len("latest balancer error: "):]
	}
	if i := strings.LastIndex(text, "desc = "); i >= 0 {
		text = text[i+len("desc = "):]
	}
	return strings.Trim(text, `"`)
}

// explain makes an error of a ring of what etcd said for good.
func (s *Store) explain(err error) error {
	for _, own := range []error{keyring.ErrNotFound, keyring.ErrConflict, keyring.ErrTaken, keyring.ErrFenced, keyring.ErrCompacted, keyring.ErrTooLarge, keyring.ErrClosed} {
		if err == own {
			return err
		}
	}
	switch {
	case errors.Is(err, keyring.ErrDamaged):
		return err
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return keyring.ErrCompacted
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		return keyring.ErrTooLarge
	case errors.Is(err, rpctypes.ErrCorrupt):
		return fmt.Errorf("etcdstore: %s: the cluster's data is corrupt: %w", s.where(), keyring.ErrDamaged)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcdstore: %s: the cluster's database is full: compact and defragment it, then disarm the alarm: %w", s.where(), err)
	case errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty),
		errors.Is(err, rpctypes.ErrPermissionNotGranted), errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrUserNotFound):
		return fmt.Errorf("etcdstore: %s: %w: %s", s.where(), ErrRefused, reason(err))
	case transient(err):
		return s.unreachable(err)
	}
	return fmt.Errorf("etcdstore: %s: %w", s.where(), err)
}
