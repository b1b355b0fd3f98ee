// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Hundreds of peers on as many loopback addresses, served by one thread. Each does as little work
 * as possible, so that the cost of asking is measured. Peer number i counts i.
 */
final class ManyPeers implements AutoCloseable {

    final List<String> addresses = new ArrayList<>();
    final AtomicInteger asked = new AtomicInteger();
    final AtomicInteger connections = new AtomicInteger();
    private final Set<Integer> frozen = new HashSet<>();
    private final List<ServerSocketChannel> listening = new ArrayList<>();
    private final Selector selector;
    private final Thread thread;

    private record Connection(int peer, ByteBuffer input) {}

    ManyPeers(int number) throws IOException {
        selector = Selector.open();
        int port = 0;
        for (int i = 0; i < number; i++) {
            InetAddress address = InetAddress.getByAddress(new byte[] {127, 1, (byte) (i / 250), (byte) (1 + i % 250)});
            ServerSocketChannel channel = ServerSocketChannel.open();
            channel.bind(new InetSocketAddress(address, port), 64);
            port = ((InetSocketAddress) channel.getLocalAddress()).getPort();
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_ACCEPT, i);
            listening.add(channel);
            addresses.add(address.getHostAddress() + ":" + port);
        }
        thread = new Thread(this::serve, "many-peers");
        thread.setDaemon(true);
        thread.start();
    }

    /** Makes a peer accept requests and never answer. */
    void freeze(int peer) {
        synchronized (frozen) {
            frozen.add(peer);
        }
    }

    /** Returns the CPU time that answering has taken so far. */
    long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getThreadCpuTime(thread.getId());
    }

    static String name(int peer) {
        return "app-" + (peer + 1);
    }

    private void serve() {
        try {
            while (selector.isOpen()) {
                selector.select(key -> {
                    try {
                        if (key.isAcceptable()) {
                            accept(key);
                        } else {
                            read(key);
                        }
                    } catch (IOException e) {
                        close(key);
                    }
                });
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (java.nio.channels.ClosedSelectorException e) {
            return; // closed
        }
    }

    private void accept(SelectionKey key) throws IOException {
        SocketChannel channel = ((ServerSocketChannel) key.channel()).accept();
        if (channel != null) {
            connections.incrementAndGet();
            channel.configureBlocking(false);
            channel.setOption(java.net.StandardSocketOptions.TCP_NODELAY, true);
            channel.register(
                    selector,
                    SelectionKey.OP_READ,
                    new Connection((Integer) key.attachment(), ByteBuffer.allocateDirect(2_048))); // not on the heap
        }
    }

    private void read(SelectionKey key) throws IOException {
        Connection connection = (Connection) key.attachment();
        ByteBuffer input = connection.input();
        SocketChannel channel = (SocketChannel) key.channel();
        if (channel.read(input) < 0) {
            close(key);
            return;
        }
        String text = StandardCharsets.US_ASCII.decode(input.duplicate().flip()).toString();
        if (text.endsWith("\r\n\r\n")) {
            input.clear();
            asked.incrementAndGet();
            synchronized (frozen) {
                if (frozen.contains(connection.peer())) {
                    return;
                }
            }
            String counter = text.substring("GET /count/".length(), text.indexOf(" HTTP/"));
            String body = "{\"instance\":\"" + name(connection.peer()) + "\",\"counter\":\"" + counter + "\",\"count\":"
                    + connection.peer() + ",\"store\":\"" + new UUID(7, connection.peer()) + "\",\"incarnation\":1}";
            ByteBuffer answer = StandardCharsets.US_ASCII.encode("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    + "Cache-Control: no-store\r\nContent-Length: " + body.length() + "\r\n\r\n" + body);
            while (answer.hasRemaining()) {
                channel.write(answer);
            }
        }
    }

    private static void close(SelectionKey key) {
        key.cancel();
        try {
            key.channel().close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() throws IOException {
        List<SelectionKey> keys = new ArrayList<>(selector.keys());
        selector.close();
        for (SelectionKey key : keys) {
            key.channel().close();
        }
        for (ServerSocketChannel channel : listening) {
            channel.close();
        }
    }
}
