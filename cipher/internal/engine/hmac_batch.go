package engine

// SumBatch computes the tags of several messages side by side. The keys may differ, and so
// may the lengths. Up to five messages go three at a time through the SHA extensions, where
// the others run in the time one's rounds wait for each other; with more it is faster to have
// each in a lane of a vector, on CPUs that have what it takes.
func SumBatch(macs []MAC) {
	if len(macs) >= wideLeast && wideSHA {
		var lanes [wideLanes]macLane
		sumLanes(lanes[:], macs)
		return
	}
	var lanes [3]macLane
	sumLanes(lanes[:], macs)
}

const (
	wideLanes = 8
	wideLeast = 6 // messages that make eight lanes worth their while
)

// wideSHA says whether shaBlocks8 can run.
var wideSHA = best == avx512VAES && bestSHA

// shaLane is what shaBlocks8 reads of a message.
type shaLane struct {
	st *shaState
	p  *byte
}

// sumLanes has as many messages on their way as there are lanes.
func sumLanes(lanes []macLane, macs []MAC) {
	next := 0
	start := func(l *macLane) bool {
		for next < len(macs) {
			m := &macs[next]
			next++
			if m.Key.mid == nil {
				m.Key.sumStd(&m.Out, m.A, m.B, m.C)
				continue
			}
			l.begin(m.Key.mid, &m.Out, m.A, m.B, m.C)
			return true
		}
		return false
	}
	// Lanes with work stand first.
	busy := 0
	for busy < len(lanes) && start(&lanes[busy]) {
		busy++
	}
	for busy > 0 {
		at := busy // how many go on
		if at < wideLeast {
			at = min(at, 3)
		}
		n := lanes[0].blocks
		for i := range lanes[1:at] {
			n = min(n, lanes[1+i].blocks)
		}
		a, b, c := &lanes[0], &lanes[min(1, len(lanes)-1)], &lanes[min(2, len(lanes)-1)]
		switch at {
		case 1:
			shaBlocks(&a.state, a.at(), n)
		case 2:
			shaBlocks2(&a.state, &b.state, a.at(), b.at(), n)
		case 3:
			shaBlocks3(&a.state, &b.state, &c.state, a.at(), b.at(), c.at(), n)
		default:
			n = min(n, maxRunWide)
			var idle shaState
			var in [wideLanes]shaLane
			for i := range in {
				if i < at {
					in[i].st, in[i].p = &lanes[i].state, lanes[i].at()
				} else {
					in[i].st, in[i].p = &idle, in[0].p
				}
			}
			shaBlocks8(&in, n)
		}
		for i := at - 1; i >= 0; i-- {
			l := &lanes[i]
			l.done(n)
			if l.blocks == 0 && !start(l) {
				busy--
				*l = lanes[busy]
				lanes[busy].state = shaState{}
			}
		}
	}
}
