package main

import "strings"

// The loop for AES-GCM of what is longer than 512 bytes, which gcm512.go's routines share: eight
// vectors, 32 blocks, a turn, with one reduction. What holds for all of them, constant
// time too, is said there.
//
// Seal's loop encrypts eight vectors in two halves, half a turn apart: while vectors 0-3 of
// a chunk end, 4-7 begin, and while these end, 0-3 of the next one do. So last rounds, first
// rounds and stores are spread over the turn; a turn that begins all eight at once and ends them at once
// leaves the AES unit idle at its ends, for the schedulers look ahead less than a
// turn, and has eight stores in a row, of which most cross cache lines (3.3 cycles each),
// since a result stands behind a header. Cycles of a turn, 100,000 bytes, behind 9 bytes of
// header, over all places within a page of src, dst and table: AES-128 59-61 (all at
// once 63-66; Open, whose stores do not cross, 58), AES-256 69.5-71 (73; Open 67); where
// dst begins on a cache line 58.8 and 69.1 (60.7 and 70.9). Its bounds are 52 for CLMUL and 36
// or 52 for AES; without the 12 VPTERNLOGQ a turn takes 3 less, without the 8 VPERMT2B 2.5 less:
// these take turns from AES and CLMUL, so stores aligned by one VPERMT2B each would cost
// more than the 1 that crossing still costs.
//
// The loop begins on a cache line: else a turn may take 1 or 2 % longer, by where the code before it ends.
//
// Also tried: twelve vectors in flight (AES-256 1.3 less, AES-128 1 more); each half hashed half a turn
// behind its stores (3 more: loads wait for stores across cache lines); a state in four lanes, which
// would need tables of equal powers for all lanes (AES-256 1 less, AES-128 0).
//
// The last chunk, which at most 512 bytes follow, is hashed by lastGHASH. The reduction that it saves, 30
// cycles of waiting, is 2 to 5 % of a single frame of 1200 bytes; back to back, where
// the core has the next frame to do, 4 % of one sealed and nothing of one opened.
//
// What comes before the text, AAD blocks or a state, is not reduced by itself but begins the
// sums, which the first turn that hashes reduces: 5 of 222 cycles of a frame of 1200 bytes.
//
// Registers besides gcm512.go's: R8 first 8 bytes of the nonce, as they lie, R9 the last 4, big endian, << 32,
// R12 R13 round table's next row and end (in Seal from advance on the next chunk's), R14 counter >> 8, Z29 Z9 first round's base
// for vectors 0-6 and 7, Z16 Z10 byte swap that also gathers the low or high halves of
// two vectors, Z17 round key, Z25 state, Z26 last round key, Z27 scratch.

func longSetup(nr int) []string {
	return cat([]string{"MOVL R9, R14", "SHRL $8, R14", "SHRQ $32, R9", "SHLQ $32, R9",
		f("LEAQ %d(AX), R12", offTable), f("LEAQ %d(R12), R13", tableLen),
		f("VBROADCASTI32X4 %d(AX), Z26", 16*nr), "MOVL $1, CX", "KMOVB CX, K4",
		"VMOVDQU64 lowHalves<>(SB), Z16"})
}

// tableBase puts the first round of the counter block with low byte 0 into dst.
func tableBase(dst string) []string {
	return []string{"MOVL R14, CX", "SHLL $8, CX", "ADDQ R9, CX", "BSWAPQ CX", "VMOVQ R8, X15", "VPINSRQ $1, CX, X15, X15",
		"VPXOR (AX), X15, X15", "VAESENC 16(AX), X15, X15", f("VSHUFI64X2 $0, Z15, Z15, %s", dst)}
}

// advance moves to the table's next eight rows of four. In the last ones of a
// period the low byte wraps within vector 7. A routine that has it twice tells their
// labels apart.
func advance(p string) []string {
	o := []string{f("ADDQ $%d, R12", chunk), f("LEAQ %d(R12), CX", chunk), "CMPQ CX, R13", f("JB %sadvanced", p), f("JNE %swrap", p), "INCL R14"}
	o = append(o, tableBase("Z30")...)
	o = append(o, "VSHUFI64X2 $0xe4, Z30, Z29, Z9", f("JMP %sadvanced", p), f("%swrap:", p), f("LEAQ %d(AX), R12", offTable))
	o = append(o, tableBase("Z29")...)
	return append(o, "VMOVDQA64 Z29, Z9", f("%sadvanced:", p))
}

// chunkAES is eight vectors from (SI) to (DI).
func chunkAES(nr int) []string {
	var o []string
	for i := 0; i < 8; i++ {
		base := 29
		if i == 7 {
			base = 9
		}
		o = append(o, f("VPXORQ %d(R12), Z%d, Z%d", 64*i, base, i))
	}
	for r := 2; r < nr; r++ {
		o = append(o, f("VBROADCASTI32X4 %d(AX), Z17", 16*r))
		for i := 0; i < 8; i++ {
			o = append(o, f("VAESENC Z17, Z%d, Z%d", i, i))
		}
	}
	for i := 0; i < 8; i++ {
		o = append(o, f("VPXORQ %d(SI), Z26, Z27", 64*i), f("VAESENCLAST Z27, Z%d, Z%d", i, i), f("VMOVDQU64 Z%d, %d(DI)", i, 64*i))
	}
	return o
}

var ghashPool = []int{8, 14, 15, 18, 20, 21, 23, 24, 28, 30, 31}

// chunkGHASH multiplies eight vectors at base into fresh sums, two vectors at a
// time, while it reduces the sums of the chunk before; that state enters with
// the first pair, which is therefore taken last. One element per product, so
// that merging spaces the products evenly; a product is added two slots later.
func chunkGHASH(base string, off int) [][]string {
	prepare := func(p int) []string {
		n := f("p%d", p)
		o := []string{f("VMOVDQU64 %d(%s), {%sb}", 128*p+64+off, base, n), f("VMOVDQU64 %d(%s), {%su}", 128*p+off, base, n), f("VMOVDQA64 {%su}, {%sw}", n, n),
			f("VPERMT2B {%sb}, Z16, {%su}", n, n), f("VPERMT2B {%sb}, Z10, {%sw}", n, n)}
		if p == 0 {
			o = append(o, f("VPXORQ Z25, {%su}, K4, {%su}", n, n), "VPSRLDQ $8, Z25, Z25", f("VPXORQ Z25, {%sw}, {%sw}", n, n))
		}
		return append(o, f("VPXORQ {%su}, {%sw}, {%sx}", n, n, n))
	}
	reduce := reduceSums()
	order := []int{1, 2, 3, 0}
	slots := [][]string{prepare(order[0]), reduce[0]}
	var due []string // sums waiting for their two products
	var dueAt []int
	seen := map[string]bool{}
	k, red := 0, 1
	for pi, p := range order {
		var next []string
		if pi+1 < len(order) {
			next = prepare(order[pi+1])
		}
		per := (len(next) + 3) / 4
		for ci, half := range []struct {
			table    int
			reg, acc string
		}{{offLo, "u", "Z11"}, {offHi, "w", "Z13"}, {offMid, "x", "Z12"}} {
			for wi, imm := range []string{"00", "11"} {
				slot := []string{f("VPCLMULQDQ $0x%s, %d(AX), {p%d%s}, {p%d%s%s}", imm, half.table+64*p, p, half.reg, p, half.reg, imm)}
				for len(due) > 0 && dueAt[0] <= k {
					slot = append(slot, due[0])
					due, dueAt = due[1:], dueAt[1:]
				}
				if wi == 1 {
					op := f("VPXORQ {p%d%s00}, {p%d%s11}, %s", p, half.reg, p, half.reg, half.acc)
					if seen[half.acc] {
						op = f("VPTERNLOGQ $0x96, {p%d%s00}, {p%d%s11}, %s", p, half.reg, p, half.reg, half.acc)
					}
					seen[half.acc] = true
					due, dueAt = append(due, op), append(dueAt, k+2)
				}
				if red < len(reduce) && (k == 3 || k == 7 || k == 11 || k == 15) {
					slot = append(slot, reduce[red]...)
					red++
				}
				if ci >= 1 {
					m := min(per, len(next))
					slot, next = append(slot, next[:m]...), next[m:]
				}
				slots = append(slots, slot)
				k++
			}
		}
	}
	return append(slots, due)
}

// reduceSums brings the sums of the chunk before to the state, X25, in steps.
func reduceSums() [][]string {
	return [][]string{
		{"VPTERNLOGQ $0x96, Z11, Z13, Z12", "VMOVDQA64 Z12, {m}", "VMOVDQA64 Z13, {h}", "VPSHUFD $0x4e, Z11, {ls}", "VPCLMULQDQ $0x10, reduce<>(SB), Z11, {t1}"},
		{"VPTERNLOGQ $0x96, {t1}, {ls}, {m}", "VPCLMULQDQ $0x10, reduce<>(SB), {m}, {t2}", "VPSHUFD $0x4e, {m}, {m}"},
		{"VPTERNLOGQ $0x96, {t2}, {m}, {h}", "VEXTRACTI64X4 $1, {h}, {Y:e}"},
		{"VPXORQ {Y:e}, {Y:h}, {Y:h}", "VEXTRACTI64X2 $1, {Y:h}, {X:e2}"},
		{"VPXORQ {X:e2}, {X:h}, X25"},
	}
}

// spread lays slots evenly over a stream.
func spread(stream []string, slots [][]string) []string {
	var o []string
	i := 0
	for s, slot := range slots {
		to := (s + 1) * len(stream) / len(slots)
		o = append(o, slot...)
		o = append(o, stream[i:to]...)
		i = to
	}
	return append(o, stream[i:]...)
}

// quad is steps from to to-1 of the AES of vectors 4q to 4q+3: step 0 is the first round,
// by table, then comes a round a step, and step nr-1 has the last one, text and store.
func quad(nr, q, from, to int) [][]string {
	var o [][]string
	for s := from; s < to; s++ {
		var step []string
		if s > 0 && s < nr-1 {
			step = append(step, f("VBROADCASTI32X4 %d(AX), Z17", 16*(s+1)))
		}
		for i := 4 * q; i < 4*q+4; i++ {
			switch base := 29; {
			case s == 0:
				if i == 7 {
					base = 9
				}
				step = append(step, f("VPXORQ %d(R12), Z%d, Z%d", 64*i, base, i))
			case s < nr-1:
				step = append(step, f("VAESENC Z17, Z%d, Z%d", i, i))
			default:
				step = append(step, f("VPXORQ %d(SI), Z26, Z27", 64*i), f("VAESENCLAST Z27, Z%d, Z%d", i, i), f("VMOVDQU64 Z%d, %d(DI)", i, 64*i))
			}
		}
		o = append(o, step)
	}
	return o
}

// alternate has the steps of a and b in turns, as long as there are both.
func alternate(a, b [][]string) []string {
	var o []string
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			o = append(o, a[i]...)
		}
		if i < len(b) {
			o = append(o, b[i]...)
		}
	}
	return o
}

// loop runs while more than floor bytes are left and leaves the state in X25. state puts
// what GHASH begins with into the sums; it can be merged with AES.
// Open hashes the chunk that it decrypts: every load of ciphertext stands before the store
// that may overwrite it. Seal hashes the chunk before the one whose vectors 4-7 begin and end in
// this turn, as 0-3 end; and 0-3 of the next one get half their rounds, with the rows and
// bases of which advance has made ready. They are there whether a chunk follows, the rest of a
// frame (drain), or nothing.
func loop(nr int, seal bool, state []string, floor int, rest bool) []string {
	next := []string{f("ADDQ $%d, SI", chunk), f("ADDQ $%d, DI", chunk), f("SUBQ $%d, R11", chunk), f("CMPQ R11, $%d", floor), "JLS drain"}
	if seal {
		half := nr / 2
		second := cat(quad(nr, 1, 0, 1)...)
		turn := cat(alternate(quad(nr, 0, half, nr), quad(nr, 1, 1, nr-half)), alternate(quad(nr, 1, nr-half, nr), quad(nr, 0, 0, half)))
		o := merge(cat(quad(nr, 0, 0, half)...), state)
		o = append(o, second...)
		o = append(o, advance("first")...)
		o = append(o, turn...)
		o = append(o, "VMOVDQU64 highHalves<>(SB), Z10")
		o = append(o, next...)
		o = append(o, "PCALIGN $64", "loop:")
		o = append(o, second...)
		o = append(o, advance("")...)
		o = append(o, assign(spread(turn, chunkGHASH("DI", -chunk)), ghashPool)...)
		o = append(o, next...)
		o = append(o, "JMP loop", "drain:")
		if !rest {
			o = append(o, cat(chunkGHASH("DI", -chunk)...)...)
			return append(assign(o, ghashPool), fold(true)...)
		}
		return append(assign(o, ghashPool), drain(nr)...)
	}
	o := append(state, "VMOVDQU64 highHalves<>(SB), Z10")
	if rest { // the last turn is another one
		o = append(o, f("CMPQ R11, $%d", floor+chunk), "JLS drain")
	}
	o = append(o, "PCALIGN $64", "loop:")
	turn := fetchAhead(assign(spread(chunkAES(nr), chunkGHASH("SI", 0)), ghashPool))
	mustLoadBeforeStore(turn)
	o = append(o, turn...)
	if !rest {
		o = append(o, next...)
		o = append(o, advance("")...)
		o = append(o, "JMP loop", "drain:")
		return append(o, fold(true)...)
	}
	o = append(o, next[:3]...)
	o = append(o, advance("")...)
	o = append(o, f("CMPQ R11, $%d", floor+chunk), "JHI loop", "drain:", f("SUBQ $%d, R11", chunk))
	o = append(o, powers()...)
	o = append(o, "VBROADCASTI32X4 bswap<>(SB), Z10")
	turn = assign(spread(chunkAES(nr), lastGHASH("SI", 0, false)), append([]int{16}, ghashPool...))
	mustLoadBeforeStore(turn)
	o = append(o, turn...)
	return append(o, next[:2]...)
}

// drain hashes Seal's last chunk, while it encrypts J0 and the counters of the 1 to 512 bytes
// that are left, the first four vectors from where the loop left them, the others if they
// are needed; and goes on in the straight line behind its AES. R8 is the round table's row; Z17 is
// a round key, Z26 the last one.
func drain(nr int) []string {
	o := cat(powers(), []string{"MOVQ R12, R8"}, lastMask("t"),
		[]string{"VBROADCASTI32X4 bswap<>(SB), Z10", "VPXORQ (AX), X19, X19", "CMPQ R11, $256", "JLS t4"})
	for n := 8; n > 0; n -= 4 {
		var first []string // J0
		for r := 1; r < nr; r++ {
			first = append(first, f("VAESENC %d(AX), X19, X19", 16*r))
		}
		first = append(first, "VAESENCLAST X26, X19, X19")
		aes := cat(quad(nr, 0, nr/2, nr-1)...)
		if n == 8 {
			aes = alternate(quad(nr, 1, 0, nr-1), quad(nr, 0, nr/2, nr-1))
			for i := range aes {
				aes[i] = strings.ReplaceAll(aes[i], "(R12)", "(R8)")
			}
		}
		o = append(o, f("t%d:", n))
		o = append(o, assign(spread(merge(aes, first), lastGHASH("DI", -chunk, true)), append([]int{16, 27}, ghashPool...))...)
		o = append(o, "VMOVDQA64 Z26, Z18")
		for i := n - 3; i < n; i++ {
			o = append(o, f("CMPQ R11, $%d", 64*i), f("JLS s%d", i))
		}
		o = append(o, f("JMP s%d", n))
	}
	return o
}

// fetchAhead spreads over a turn of Open what brings the ciphertext of the next turn but one into the first level
// cache: of frames that lie in the second level, 100,000 bytes for one, 3 to 4 % of the time, and
// nothing where they lie in the first. What would be fetched behind a frame's end does no harm. Stores gain nothing by it.
func fetchAhead(turn []string) []string {
	var fetch [][]string
	for i := range 8 {
		fetch = append(fetch, []string{f("PREFETCHT0 %d(SI)", 2*chunk+64*i)})
	}
	return spread(turn, fetch)
}

// powers points DX at the powers of H for the R11 bytes that are left and the length block.
func powers() []string {
	return []string{"LEAQ 15(R11), DX", "ANDQ $-16, DX", "NEGQ DX", f("LEAQ %d(AX)(DX*1), DX", offH1)}
}

// lastGHASH is chunkGHASH for the last chunk: it takes the powers that lie beyond those of what is left, at DX,
// so that the sums, of the length block X22, too, if asked for, go on into those of the rest without a reduction in
// between, which would have everything wait for some 30 cycles. Z10 is the byte swap.
func lastGHASH(base string, off int, length bool) [][]string {
	reduce := reduceSums()
	slots := [][]string{reduce[0]}
	vectors := []int{1, 2, 3, 4, 5, 6, 7, 0} // the state enters with the first one
	if length {
		vectors = append([]int{8}, vectors...)
	}
	seen := map[string]bool{}
	var due []string
	k, red := 0, 1
	var before []string
	prepare := func(i int) []string {
		c, x := f("{c%d}", i), f("{x%d}", i)
		var o []string
		if i == 8 {
			o = []string{f("VMOVDQA64 Z22, %s", c)}
		} else {
			o = []string{f("VMOVDQU64 %d(%s), %s", 64*i+off, base, c), f("VPSHUFB Z10, %s, %s", c, c)}
		}
		if i == 0 {
			o = append(o, f("VPXORQ Z25, %s, %s", c, c))
		}
		return append(o, f("VPSHUFD $0x4e, %s, %s", c, x), f("VPXORQ %s, %s, %s", c, x, x))
	}
	before = prepare(vectors[0])
	slots[0] = append(slots[0], before...)
	for vi, i := range vectors {
		at, c, x := f("%d(DX)", 64*i-chunk), f("{c%d}", i), f("{x%d}", i)
		mid := f("%d(DX)", 64*i-chunk+midsFrom)
		if i == 8 {
			at, mid = f("%d(AX)", offH1), f("%d(AX)", offH1+midsFrom)
		}
		var next []string
		if vi+1 < len(vectors) {
			next = prepare(vectors[vi+1])
		}
		per := (len(next) + 2) / 3
		for _, q := range []struct{ imm, pow, ct, acc, name string }{{"00", at, c, "Z11", "l"}, {"11", at, c, "Z13", "h"}, {"00", mid, x, "Z12", "m"}} {
			product := f("{%s%d}", q.name, i)
			slot := []string{f("VPCLMULQDQ $0x%s, %s, %s, %s", q.imm, q.pow, q.ct, product)}
			for len(due) > 1 {
				slot, due = append(slot, due[0]), due[1:]
			}
			// Two vectors' products go into a sum at once.
			if vi%2 == 1 {
				other := f("{%s%d}", q.name, vectors[vi-1])
				op := f("VPTERNLOGQ $0x96, %s, %s, %s", other, product, q.acc)
				if !seen[q.acc] {
					op = f("VPXORQ %s, %s, %s", other, product, q.acc)
				}
				seen[q.acc] = true
				due = append(due, op)
			} else if vi == len(vectors)-1 {
				due = append(due, f("VPXORQ %s, %s, %s", product, q.acc, q.acc))
			}
			if red < len(reduce) && k%4 == 3 {
				slot = append(slot, reduce[red]...)
				red++
			}
			m := min(per, len(next))
			slot, next = append(slot, next[:m]...), next[m:]
			slots = append(slots, slot)
			k++
		}
	}
	return append(slots, due)
}

// mustLoadBeforeStore stops the generator if a vector is stored before GHASH
// has read it: Open in place would hash plaintext.
func mustLoadBeforeStore(ins []string) {
	stored := map[string]bool{}
	for _, l := range ins {
		for i := 0; i < 8; i++ {
			if l == f("VMOVDQU64 Z%d, %d(DI)", i, 64*i) {
				stored[f("%d(SI)", 64*i)] = true
			}
			from := f("VMOVDQU64 %d(SI)", 64*i)
			if len(l) > len(from) && l[:len(from)] == from && stored[f("%d(SI)", 64*i)] {
				panic("load after store: " + l)
			}
		}
	}
}
