package main

// setupFile has what runs once per key, for every tier with AES-NI, AVX and
// PCLMULQDQ. Only AESKEYGENASSIST, AESENC and CLMUL see key bytes: there is
// no table look-up and no branch on a secret.
func setupFile() []string {
	o := data("bswap", 0x08090a0b0c0d0e0f, 0x0001020304050607)
	o = append(o, data("poly", 1, 0xc200000000000000)...)
	o = append(o, expand128()...)
	o = append(o, expand256()...)
	o = append(o, encryptBlock()...)
	o = append(o, decryptKeys()...)
	o = append(o, fieldMul()...)
	o = append(o, roundTable()...)
	return append(o, cpu()...)
}

func foldKey(key, t string) []string {
	return []string{
		f("VPSLLDQ $4, %s, %s", key, t), f("VPXOR %s, %s, %s", t, key, key),
		f("VPSLLDQ $4, %s, %s", t, t), f("VPXOR %s, %s, %s", t, key, key),
		f("VPSLLDQ $4, %s, %s", t, t), f("VPXOR %s, %s, %s", t, key, key),
	}
}

var rcon = []int{1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36}

func expand128() []string {
	o := text(`func expand128(rk *schedule, key *byte)
		AES-128 key schedule, FIPS 197 section 5.2: eleven round keys.`, "expand128", 0, 16)
	o = append(o, "MOVQ rk+0(FP), AX", "MOVQ key+8(FP), BX", "VMOVDQU (BX), X0", "VMOVDQU X0, (AX)")
	for i, rc := range rcon {
		o = append(o, f("VAESKEYGENASSIST $%d, X0, X1", rc), "VPSHUFD $0xff, X1, X1")
		o = append(o, foldKey("X0", "X2")...)
		o = append(o, "VPXOR X1, X0, X0", f("VMOVDQU X0, %d(AX)", 16*(i+1)))
	}
	return append(o, clearLow(0, 1, 2)...)
}

func expand256() []string {
	o := text(`func expand256(rk *schedule, key *byte)
		AES-256 key schedule, FIPS 197 section 5.2: fifteen round keys.`, "expand256", 0, 16)
	o = append(o, "MOVQ rk+0(FP), AX", "MOVQ key+8(FP), BX", "VMOVDQU (BX), X0", "VMOVDQU 16(BX), X3",
		"VMOVDQU X0, (AX)", "VMOVDQU X3, 16(AX)")
	for i := 0; i < 7; i++ {
		o = append(o, f("VAESKEYGENASSIST $%d, X3, X1", rcon[i]), "VPSHUFD $0xff, X1, X1")
		o = append(o, foldKey("X0", "X2")...)
		o = append(o, "VPXOR X1, X0, X0", f("VMOVDQU X0, %d(AX)", 16*(2*i+2)))
		if i == 6 {
			break
		}
		o = append(o, "VAESKEYGENASSIST $0, X0, X1", "VPSHUFD $0xaa, X1, X1")
		o = append(o, foldKey("X3", "X2")...)
		o = append(o, "VPXOR X1, X3, X3", f("VMOVDQU X3, %d(AX)", 16*(2*i+3)))
	}
	return append(o, clearLow(0, 1, 2, 3)...)
}

func clearLow(regs ...int) []string {
	var o []string
	for _, r := range regs {
		o = append(o, f("VPXOR X%d, X%d, X%d", r, r, r))
	}
	return append(o, "VZEROUPPER", "RET", "")
}

func encryptBlock() []string {
	o := text(`func encryptBlock(rk *schedule, rounds int, dst, src *[16]byte)
		One block with 10 or 14 rounds.`, "encryptBlock", 0, 32)
	o = append(o, "MOVQ rk+0(FP), AX", "MOVQ rounds+8(FP), CX", "MOVQ dst+16(FP), DI", "MOVQ src+24(FP), SI",
		"VMOVDQU (SI), X0", "VPXOR (AX), X0, X0",
		"round:", "ADDQ $16, AX", "DECQ CX", "JZ last", "VAESENC (AX), X0, X0", "JMP round",
		"last:", "VAESENCLAST (AX), X0, X0", "VMOVDQU X0, (DI)")
	return append(o, clearLow(0)...)
}

func decryptKeys() []string {
	o := text(`func decryptKeys(dk, rk *schedule, rounds int)
		Round keys of the equivalent inverse cipher (FIPS 197 section 5.3.5), in the order AESDEC takes them.`, "decryptKeys", 0, 24)
	return append(o, "MOVQ dk+0(FP), DI", "MOVQ rk+8(FP), SI", "MOVQ rounds+16(FP), CX",
		"VMOVDQU (SI), X0", "MOVQ CX, BX", "SHLQ $4, BX", "VMOVDQU X0, (DI)(BX*1)", "VMOVDQU (SI)(BX*1), X0", "VMOVDQU X0, (DI)",
		"next:", "ADDQ $16, DI", "SUBQ $16, BX", "JZ end", "VAESIMC (SI)(BX*1), X0", "VMOVDQU X0, (DI)", "JMP next",
		"end:", "VPXOR X0, X0, X0", "VZEROUPPER", "RET", "")
}

func fieldMul() []string {
	o := text(`func fieldMul(out, a, b *[2]uint64)
		out = a*b in GHASH's field, operands byte-reflected, b shifted left by one
		bit (GCM's bit order turned into CLMUL's; as BoringSSL's and Go's tables
		have it). Schoolbook product, two reductions by 0xc2<<120.`, "fieldMul", 0, 24)
	o = append(o, "MOVQ out+0(FP), DI", "MOVQ a+8(FP), AX", "MOVQ b+16(FP), BX", "VMOVDQU (AX), X0", "VMOVDQU (BX), X1", "VMOVDQU poly<>(SB), X5",
		"VPCLMULQDQ $0x00, X0, X1, X2", "VPCLMULQDQ $0x11, X0, X1, X4", "VPCLMULQDQ $0x01, X0, X1, X3", "VPCLMULQDQ $0x10, X0, X1, X0", "VPXOR X0, X3, X3",
		"VPCLMULQDQ $0x10, X5, X2, X0", "VPSHUFD $0x4e, X2, X2", "VPXOR X0, X2, X2", "VPXOR X2, X3, X3",
		"VPCLMULQDQ $0x10, X5, X3, X0", "VPSHUFD $0x4e, X3, X3", "VPXOR X0, X3, X3", "VPXOR X3, X4, X4", "VMOVDQU X4, (DI)")
	return append(o, clearLow(0, 1, 2, 3, 4)...)
}

func roundTable() []string {
	o := text(`func roundTable(t *[256][16]byte, rk *schedule)
		With a 12-byte nonce only byte 15 of the counter block changes within 256
		blocks, and after the first round that byte reaches one column. t[j] is
		what the first round's output differs by when the byte is j+2 instead of
		0, so the long loops start from round two: one XOR with a table that is
		indexed by the public counter. The table itself is made by AESENC.`, "roundTable", 0, 16)
	return append(o, "MOVQ t+0(FP), DI", "MOVQ rk+8(FP), AX", "VMOVDQU (AX), X0", "VPXOR X3, X3, X3", "VAESENC X3, X0, X1",
		"XORL CX, CX",
		"entry:", "LEAL 2(CX), BX", "SHLL $24, BX", "VMOVD BX, X2", "VPSLLDQ $12, X2, X2", "VPXOR X0, X2, X2",
		"VAESENC X3, X2, X2", "VPXOR X1, X2, X2", "VMOVDQU X2, (DI)", "ADDQ $16, DI", "INCL CX", "CMPL CX, $256", "JB entry",
		"VPXOR X0, X0, X0", "VPXOR X1, X1, X1", "VPXOR X2, X2, X2", "VZEROUPPER", "RET", "")
}

func cpu() []string {
	o := text(`func cpuid(leaf, sub uint32) (a, b, c, d uint32)`, "cpuid", 0, 24)
	o = append(o, "MOVL leaf+0(FP), AX", "MOVL sub+4(FP), CX", "CPUID", "MOVL AX, a+8(FP)", "MOVL BX, b+12(FP)", "MOVL CX, c+16(FP)", "MOVL DX, d+20(FP)", "RET", "")
	o = append(o, text(`func xgetbv() (a uint32)
		The low half of XCR0: which register files the system saves.`, "xgetbv", 0, 4)...)
	return append(o, "XORL CX, CX", "XGETBV", "MOVL AX, a+0(FP)", "RET", "")
}
