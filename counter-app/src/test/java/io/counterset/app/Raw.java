// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;

/** A connection on which a test sends exact bytes rather than an HTTP client's requests. */
final class Raw implements AutoCloseable {

    private final Socket socket;

    Raw(int port) {
        this(port, 0);
    }

    /** Connects with a receive buffer of that many bytes; 0 for the system's default. */
    Raw(int port, int receiveBuffer) {
        this(port, receiveBuffer, "127.0.0.1");
    }

    /** From an address of the loopback interface. */
    Raw(int port, String from) {
        this(port, 0, from);
    }

    private Raw(int port, int receiveBuffer, String from) {
        try {
            socket = new Socket();
            socket.bind(new InetSocketAddress(InetAddress.getAllByName(from)[0], 0));
            if (receiveBuffer > 0) {
                socket.setReceiveBufferSize(receiveBuffer);
            }
            socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
            socket.setSoTimeout(30_000);
            socket.setTcpNoDelay(true);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Sends text as ISO 8859-1, with each LF replaced by CR LF. */
    Raw sendLines(String text) throws IOException {
        return send(text.replace("\n", "\r\n"));
    }

    Raw send(String bytes) throws IOException {
        socket.getOutputStream().write(bytes.getBytes(StandardCharsets.ISO_8859_1));
        socket.getOutputStream().flush();
        return this;
    }

    /**
     * Returns everything received until the server ends the connection or the socket's timeout
     * passes.
     */
    String readToEnd() throws IOException {
        return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    /** Returns everything received until nothing arrives for that long, or the connection ends. */
    String readUntilQuiet(int millis) throws IOException {
        socket.setSoTimeout(millis);
        ByteArrayOutputStream read = new ByteArrayOutputStream();
        InputStream in = socket.getInputStream();
        byte[] buffer = new byte[8192];
        try {
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                read.write(buffer, 0, n);
            }
        } catch (SocketTimeoutException e) {
            // nothing more arrived
        }
        return read.toString(StandardCharsets.UTF_8);
    }

    boolean isClosedByServer() throws IOException {
        socket.setSoTimeout(1);
        try {
            return socket.getInputStream().read() < 0;
        } catch (SocketTimeoutException e) {
            return false;
        } catch (IOException e) {
            return true; // reset
        }
    }

    /** Ends the connection with a reset. */
    void reset() throws IOException {
        socket.setSoLinger(true, 0);
        socket.close();
    }

    @Override
    public void close() {
        try {
            socket.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
