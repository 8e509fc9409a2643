package main

// AES in counter mode on 512-bit registers. Bound by the AES unit: 10 or 14
// VAESENC, two a cycle, for 64 bytes.
//
// Registers: AX round keys, DI dst, SI src, R11 bytes left, Z0-Z7 blocks, Z8
// counters reflected, Z9 counter step, Z10 byte swap, Z11 scratch, Z16… all
// round keys (11 or 15); R12, R13, K2 as lastVector says. The loop takes eight
// vectors a turn, which is what latency 4 and two units need; a frame of up to
// 512 bytes, or what the loop leaves, is one straight line per vector count.

func ctr512File() []string {
	o := cat(
		data("bswap", 0x08090a0b0c0d0e0f, 0x0001020304050607),
		data("count0123", 0, 0, 1, 0, 2, 0, 3, 0),
		data("count4", 4, 0),
	)
	for _, nr := range []int{10, 14} {
		o = append(o, ctr512(nr)...)
	}
	return o
}

// ctrVectors makes the key stream of n vectors up to the last round.
func ctrVectors(nr, n int) []string {
	var o []string
	for i := 0; i < n; i++ {
		o = append(o, f("VPSHUFB Z10, Z8, Z%d", i), "VPADDD Z9, Z8, Z8")
	}
	for r := 0; r < nr; r++ {
		op := "VAESENC"
		if r == 0 {
			op = "VPXORQ"
		}
		for i := 0; i < n; i++ {
			o = append(o, f("%s Z%d, Z%d, Z%d", op, 16+r, i, i))
		}
	}
	return o
}

func ctrVector(nr, i int) []string {
	return []string{f("VPXORQ %d(SI), Z%d, Z11", 64*i, 16+nr), f("VAESENCLAST Z11, Z%d, Z%d", i, i), f("VMOVDQU64 Z%d, %d(DI)", i, 64*i)}
}

func ctr512(nr int) []string {
	name := f("ctr%dAVX512", bits(nr))
	o := text(f(`func %s(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)
		AES-%d-CTR over n > 0 bytes from the given block of the nonce's key stream on.`, name, bits(nr)), name, 64, 56)
	o = append(o, "MOVQ rk+0(FP), AX")
	o = append(o, loadArgs()[1:]...)
	o = append(o, "MOVQ block+48(FP), CX", "ADDQ R9, CX", "VMOVQ CX, X8", "VPINSRQ $1, R8, X8, X8",
		"VSHUFI64X2 $0, Z8, Z8, Z8", "VPADDD count0123<>(SB), Z8, Z8", "VBROADCASTI32X4 count4<>(SB), Z9", "VBROADCASTI32X4 bswap<>(SB), Z10")
	for r := 0; r <= nr; r++ {
		o = append(o, f("VBROADCASTI32X4 %d(AX), Z%d", 16*r, 16+r))
	}
	o = append(o, "CMPQ R11, $512", "JLS small", "turn:")
	o = append(o, ctrVectors(nr, 8)...)
	for i := 0; i < 8; i++ {
		o = append(o, ctrVector(nr, i)...)
	}
	o = append(o, "ADDQ $512, SI", "ADDQ $512, DI", "SUBQ $512, R11", "CMPQ R11, $512", "JHI turn", "small:")
	o = append(o, lastVector()...)
	for n := 8; n > 0; n-- {
		o = append(o, f("v%d:", n))
		o = append(o, ctrVectors(nr, n)...)
		for i := 0; i < n-1; i++ {
			o = append(o, ctrVector(nr, i)...)
		}
		o = append(o, "VMOVDQU8.Z (R12), K2, Z11", f("VPXORQ Z%d, Z11, Z11", 16+nr), f("VAESENCLAST Z11, Z%d, Z%d", n-1, n-1),
			f("VMOVDQU8 Z%d, K2, (R13)", n-1))
		if n > 1 {
			o = append(o, "JMP finish")
		}
	}
	o = append(o, "finish:")
	o = append(o, leave()...)
	o = append(o, bounces()...)
	return append(o, "")
}
