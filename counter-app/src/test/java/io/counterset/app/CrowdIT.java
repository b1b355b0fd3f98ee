// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Many idle connections, and many that send a request one byte at a time, leave service to other
 * clients. The command of the long form is in docs/testing.md.
 */
class CrowdIT {

    private static final int IDLE = Integer.getInteger("counterset.crowd.idle", 2_000);
    private static final int SLOW = Integer.getInteger("counterset.crowd.slow", 200);
    private static final int ALLOWED = Integer.getInteger("counterset.crowd.connections", 500);
    private static final Duration TIME = Duration.ofSeconds(Integer.getInteger("counterset.crowd.seconds", 2));
    private static final byte[] HEAD =
            ("POST /count HTTP/1.1\r\nHost: h\r\nX: " + "x".repeat(4_000)).getBytes(StandardCharsets.US_ASCII);

    @TempDir
    private Path folder;

    private final List<SocketChannel> channels = new ArrayList<>();

    @Test
    void idleAndSlowConnectionsLeaveServiceToOthers() throws Exception {
        try (ServiceProcess service =
                ServiceProcess.start(folder, Map.of("COUNTER_MAX_CONNECTIONS", Integer.toString(ALLOWED)))) {
            service.send("POST", "/count");
            long before = resident(service);
            for (int i = 0; i < IDLE; i++) {
                connect(service);
            }
            SocketChannel[] slow = new SocketChannel[SLOW];
            int[] sent = new int[SLOW];
            List<Long> micros = new ArrayList<>();
            int reconnected = 0;
            long began = System.nanoTime();
            while (System.nanoTime() - began < TIME.toNanos() || micros.size() < 50) {
                for (int i = 0; i < SLOW; i++) { // send the next byte of each
                    SocketChannel channel = slow[i];
                    if (channel == null || !trickle(channel, sent[i])) {
                        reconnected += channel == null ? 0 : 1;
                        slow[i] = connect(service);
                        sent[i] = 0;
                    } else {
                        sent[i]++;
                    }
                }
                long sentAt = System.nanoTime();
                try (Raw raw = new Raw(service.port())) {
                    assertThat(raw.sendLines("POST /count HTTP/1.1\nHost: h\nConnection: close\n\n")
                                    .readToEnd())
                            .startsWith("HTTP/1.1 200 ");
                }
                micros.add((System.nanoTime() - sentAt) / 1_000);
            }
            long[] sorted = micros.stream().mapToLong(Long::longValue).sorted().toArray();
            System.out.printf(
                    "crowd: %,d idle and %,d slow connections, %,d allowed (%,d slow ones ended by the service): %d increments on"
                            + " new connections, median %.1f ms, 99th percentile %.1f ms, longest %.1f ms; resident %d -> %d MB%n",
                    IDLE,
                    SLOW,
                    ALLOWED,
                    reconnected,
                    sorted.length,
                    sorted[sorted.length / 2] / 1e3,
                    sorted[sorted.length * 99 / 100] / 1e3,
                    Arrays.stream(sorted).max().orElse(0) / 1e3,
                    before,
                    resident(service));
            assertThat(sorted[sorted.length / 2]).as("median, in microseconds").isLessThan(1_000_000);
            assertThat(service.count()).isEqualTo(1 + sorted.length);
            assertThat(service.output().lines().filter(line -> !line.contains("INFO")))
                    .as("log lines")
                    .hasSizeLessThan(10);
            assertThat(service.errors()).isEmpty();
        } finally {
            for (SocketChannel channel : channels) {
                channel.close();
            }
        }
    }

    private SocketChannel connect(ServiceProcess service) throws IOException {
        SocketChannel channel = SocketChannel.open();
        channel.setOption(StandardSocketOptions.SO_RCVBUF, 4_096);
        channel.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), service.port()));
        channel.configureBlocking(false);
        channels.add(channel);
        return channel;
    }

    /** Sends one more byte, and returns false if the service has ended the connection. */
    private static boolean trickle(SocketChannel channel, int at) {
        try {
            channel.write(ByteBuffer.wrap(HEAD, at % HEAD.length, 1));
            return channel.read(ByteBuffer.allocate(512)) == 0;
        } catch (IOException e) {
            return false;
        }
    }

    private static long resident(ServiceProcess service) throws IOException {
        return Files.readAllLines(
                                Path.of("/proc", Long.toString(service.process().pid()), "status"))
                        .stream()
                        .filter(line -> line.startsWith("VmRSS:"))
                        .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
                        .findFirst()
                        .orElseThrow()
                / 1_024;
    }
}
