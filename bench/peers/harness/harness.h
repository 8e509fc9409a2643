/* What the harnesses have in common: they read lines "seal SIZE SECONDS" or "open SIZE
 * SECONDS" and answer "FRAMES NANOSECONDS". Frames are sealed and opened in blocks that
 * fit into the second level cache, as the Go side does it. A frame that does not open
 * to what was sealed ends the harness. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AAD 12
#define SPARE 64

/* Each harness has these. A packet is AAD bytes of header and the frame. */
static void prepare(const char *mode); /* prints the name, or ends */
static void renew(void);               /* a new key */
static int seal(uint8_t *out, const uint8_t *packet, int n); /* the sealed length */
static int open_(uint8_t *out, const uint8_t *sealed, int n, int size);
static int check_at; /* where the frame begins in what open_ writes */

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static double cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Blocks that other processes interrupted are left out where a quarter is not, as the
 * Go side does it. */
static double busy, calm;
static long frames, calm_frames;

static void count_block(double wall, double used, int n) {
	busy += wall, frames += n;
	if (wall - used <= (wall / 50 > 4000 ? wall / 50 : 4000)) calm += wall, calm_frames += n;
}

static void die(const char *why) {
	fprintf(stderr, "%s\n", why);
	exit(1);
}

int main(int argc, char **argv) {
	if (argc != 2) die("usage: harness MODE");
	prepare(argv[1]);
	fflush(stdout);
	char op[16];
	int size;
	double seconds;
	while (scanf("%15s %d %lf", op, &size, &seconds) == 3) {
		int count = 262144 / size;
		if (count > 2048) count = 2048;
		if (count < 4) count = 4;
		size_t room = (size_t)size + AAD + SPARE;
		uint8_t *packet = malloc(room), *out = malloc(room), *blocks = malloc(room * count);
		int *lengths = malloc(sizeof(int) * count);
		for (size_t i = 0; i < room; i++) packet[i] = (uint8_t)rand();
		memset(packet, 0, AAD);
		packet[0] = 0x80; packet[1] = 96; packet[11] = 1; /* an RTP header */
		renew();
		double begun = now();
		int warm = 1;
		busy = calm = frames = calm_frames = 0;
		do {
			if (op[0] == 's') {
				double c = cpu(), t = now();
				for (int i = 0; i < count; i++)
					if (seal(out, packet, size) < 0) die("sealing failed");
				t = now() - t, c = cpu() - c;
				if (!warm) count_block(t, c, count);
			} else {
				for (int i = 0; i < count; i++)
					if ((lengths[i] = seal(blocks + room * i, packet, size)) < 0) die("sealing failed");
				double c = cpu(), t = now();
				for (int i = 0; i < count; i++)
					if (open_(out, blocks + room * i, lengths[i], size) < 0) die("opening failed");
				t = now() - t, c = cpu() - c;
				if (memcmp(out + check_at, packet + AAD, size)) die("opened to something else");
				if (!warm) count_block(t, c, count);
			}
			if (warm) begun = now(), warm = 0;
		} while (frames == 0 || now() - begun < seconds * 1e9);
		if (calm_frames >= frames / 4 && calm_frames > 0) frames = calm_frames, busy = calm;
		printf("%ld %.0f\n", frames, busy);
		fflush(stdout);
		free(packet); free(out); free(blocks); free(lengths);
	}
	return 0;
}
