/* Sends back what one client sends, by requests of io_uring, and prints the number of bytes.
 *
 * Usage: echo PORT recv|read. Requests are of IORING_OP_RECV and IORING_OP_SEND, or of
 * IORING_OP_READ and IORING_OP_WRITE. */

#include <arpa/inet.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct io_uring ring;
static char buffer[8192];

static void fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(1);
}

/* Submits the one prepared request and returns its result. */
static int result(const char *what)
{
	struct io_uring_cqe *done;
	int error = io_uring_submit(&ring);
	if (error < 0)
		fail("io_uring_submit", -error);
	error = io_uring_wait_cqe(&ring, &done);
	if (error < 0)
		fail("io_uring_wait_cqe", -error);
	int value = done->res;
	io_uring_cqe_seen(&ring, done);
	if (value < 0)
		fail(what, -value);
	return value;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		fail("usage: echo PORT recv|read", 0);
	int reads = !strcmp(argv[2], "read");
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (void *)&address, sizeof address) || listen(listener, 1))
		perror("listen"), exit(1);
	int error = io_uring_queue_init(8, &ring, 0);
	if (error)
		fail("io_uring_queue_init", -error);

	io_uring_prep_accept(io_uring_get_sqe(&ring), listener, NULL, NULL, 0);
	int client = result("accept");
	unsigned long received = 0, sent = 0;
	for (;;) {
		struct io_uring_sqe *request = io_uring_get_sqe(&ring);
		if (reads)
			io_uring_prep_read(request, client, buffer, sizeof buffer, 0);
		else
			io_uring_prep_recv(request, client, buffer, sizeof buffer, 0);
		int len = result("receive");
		if (!len)
			break;
		received += len;
		for (int at = 0; at < len;) {
			request = io_uring_get_sqe(&ring);
			if (reads)
				io_uring_prep_write(request, client, buffer + at, len - at, 0);
			else
				io_uring_prep_send(request, client, buffer + at, len - at, MSG_WAITALL);
			int n = result("send");
			at += n;
			sent += n;
		}
	}
	printf("%lu %lu\n", received, sent);
	return 0;
}
