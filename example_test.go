package chanseal_test

import (
	"context"
	"fmt"
	"os"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/boltstore"
)

// A member of a channel seals a frame, and another one opens it. The README shows the
// lines between the marks.
func Example() {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "chanseal"))
	defer os.RemoveAll(dir)

	// begin
	ring := must(boltstore.CreateRing(ctx, dir, boltstore.RingOptions{}))
	defer ring.Close()
	stage := must(ring.Create(ctx, "stage", keyring.ChannelOptions{}))
	sender := must(stage.Sender(ctx, 7, keyring.SenderOptions{}))
	receiver := must(stage.Receiver(ctx, keyring.ReceiverOptions{}))

	sealed := must(sender.Seal(nil, []byte("a frame"), nil))
	frame, from, err := receiver.OpenFrom(nil, sealed, nil)
	fmt.Printf("%s, of sender %d: %v\n", frame, from.Sender, err)
	// end

	_, err = receiver.Open(nil, sealed, nil) // each frame opens once
	fmt.Println(err)

	// Output:
	// a frame, of sender 7: <nil>
	// cipher: frame replayed or older than the replay window
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
