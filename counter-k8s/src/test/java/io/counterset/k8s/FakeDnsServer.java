// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.BindException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Answers queries for A and AAAA records over UDP, and over TCP if the answer is too long, as the
 * cluster's servers do.
 */
final class FakeDnsServer implements AutoCloseable {

    private static final int A = 1;
    private static final int AAAA = 28;
    private static final int SERVER_FAILURE = 2;
    private static final int NO_SUCH_NAME = 3;

    final AtomicInteger asked = new AtomicInteger();
    final AtomicInteger askedByTcp = new AtomicInteger();
    private final Map<String, List<String>> names = new ConcurrentHashMap<>();
    private final DatagramSocket udp;
    private final ServerSocket tcp;
    private volatile boolean failing;
    private volatile boolean silent;

    FakeDnsServer() throws IOException {
        InetAddress address = InetAddress.getLoopbackAddress();
        DatagramSocket receiving = new DatagramSocket(0, address);
        ServerSocket listening = null;
        for (int attempt = 1; listening == null; attempt++) { // a port that is free for UDP may be in use for TCP
            try {
                listening = new ServerSocket(receiving.getLocalPort(), 10, address);
            } catch (BindException e) {
                receiving.close();
                if (attempt == 100) {
                    throw e;
                }
                receiving = new DatagramSocket(0, address);
            }
        }
        udp = receiving;
        tcp = listening;
        start("udp", this::serveUdp);
        start("tcp", this::serveTcp);
    }

    private interface Service {
        void run() throws IOException;
    }

    private static void start(String name, Service service) {
        Thread thread = new Thread(
                () -> {
                    try {
                        service.run();
                    } catch (SocketException e) {
                        return; // closed
                    } catch (IOException e) {
                        throw new AssertionError(e);
                    }
                },
                "fake-dns-" + name);
        thread.setDaemon(true);
        thread.start();
    }

    /** Returns the URL of this server for JNDI. */
    String url() {
        return "dns://127.0.0.1:" + udp.getLocalPort();
    }

    /** Adds a name; without addresses it exists but has none. */
    void put(String name, String... addresses) {
        names.put(name.toLowerCase(Locale.ROOT), List.of(addresses));
    }

    void remove(String name) {
        names.remove(name);
    }

    /** Answers SERVFAIL from now on, or correctly again. */
    void fail(boolean fail) {
        failing = fail;
    }

    /** Does not answer from now on, or answers again. */
    void silence(boolean silence) {
        silent = silence;
    }

    private void serveUdp() throws IOException {
        byte[] buffer = new byte[512];
        int last = -1 << 16;
        while (true) {
            DatagramPacket packet = new DatagramPacket(buffer, buffer.length);
            udp.receive(packet);
            int id = ByteBuffer.wrap(buffer).getShort();
            if (id != last) {
                asked.incrementAndGet(); // a query repeated because this machine is busy is not counted
            }
            last = id;
            if (!silent) {
                byte[] answer = answer(ByteBuffer.wrap(buffer.clone(), 0, packet.getLength()), 512);
                udp.send(new DatagramPacket(answer, answer.length, packet.getSocketAddress()));
            }
        }
    }

    private void serveTcp() throws IOException {
        while (true) {
            try (Socket socket = tcp.accept()) {
                askedByTcp.incrementAndGet();
                DataInputStream in = new DataInputStream(socket.getInputStream());
                byte[] question = new byte[in.readUnsignedShort()];
                in.readFully(question);
                byte[] answer = answer(ByteBuffer.wrap(question), 65_535);
                DataOutputStream out = new DataOutputStream(socket.getOutputStream());
                out.writeShort(answer.length);
                out.write(answer);
                out.flush();
            }
        }
    }

    private byte[] answer(ByteBuffer question, int most) throws IOException {
        int id = question.getShort(0) & 0xffff;
        question.position(12);
        StringBuilder name = new StringBuilder();
        for (int length = question.get(); length > 0; length = question.get()) {
            byte[] label = new byte[length];
            question.get(label);
            name.append(name.length() == 0 ? "" : ".").append(new String(label, StandardCharsets.US_ASCII));
        }
        int type = question.getShort();
        byte[] asked = new byte[question.position() + 2 - 12];
        question.position(12);
        question.get(asked);

        List<String> known = names.get(name.toString().toLowerCase(Locale.ROOT));
        List<String> addresses = known == null
                ? List.of()
                : known.stream()
                        .filter(address -> address.contains(":") ? type == AAAA : type == A)
                        .toList();
        int code = failing ? SERVER_FAILURE : known == null ? NO_SUCH_NAME : 0;
        int size = type == A ? 16 : 28;
        boolean truncated = 12 + asked.length + addresses.size() * size > most;
        int sent = failing ? 0 : truncated ? (most - 12 - asked.length) / size : addresses.size();
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeShort(id);
        out.writeShort(0x8580 | (truncated ? 0x0200 : 0) | code);
        out.writeShort(1);
        out.writeShort(sent);
        out.writeShort(0);
        out.writeShort(0);
        out.write(asked);
        for (String address : addresses.subList(0, sent)) {
            byte[] ip = InetAddress.getByName(address).getAddress();
            out.writeShort(0xc00c);
            out.writeShort(type);
            out.writeShort(1);
            out.writeInt(5);
            out.writeShort(ip.length);
            out.write(ip);
        }
        return bytes.toByteArray();
    }

    @Override
    public void close() throws IOException {
        udp.close();
        tcp.close();
    }
}
