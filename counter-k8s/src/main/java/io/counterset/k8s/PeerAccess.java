// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.netty.buffer.ByteBufAllocator;
import io.netty.handler.ssl.NotSslRecordException;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslHandler;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

/**
 * The credentials between peers: the token with which this replica authenticates itself, and the
 * certificate that it expects of a peer. Thread-safe.
 *
 * @param tokens {@code counter.tokens.peers}, of which the first one is sent; null for none
 * @param tls the TLS context of connections to peers; null for plain HTTP
 * @param name {@code counter.tls.peer-name}, the name in every peer's certificate; null for the
 *     host by which a peer is listed
 */
record PeerAccess(
        @Nullable Supplier<List<byte[]>> tokens,
        @Nullable Supplier<SslContext> tls,
        @Nullable String name) {

    static final PeerAccess OPEN = new PeerAccess(null, null, null);

    static final String AUTHORITY = "counter.tls.authority";

    /**
     * Reads the settings and the files that they name. Peers use TLS if this replica does:
     * {@code counter.tls.certificate} must be set on all replicas or on none.
     *
     * @param service the headless service, whose name is in the certificates unless a setting says
     *     otherwise
     * @throws IllegalArgumentException if a file cannot be used
     */
    static PeerAccess from(Settings settings, MountedFiles files, @Nullable String service) {
        String name = settings.text("counter.tls.peer-name").orElse(service);
        boolean own = settings.text(AUTHORITY).isPresent();
        boolean secure = settings.text("counter.tls.certificate").isPresent();
        return new PeerAccess(
                files.tokens("counter.tokens.peers").orElse(null), secure ? tls(settings, files, own) : null, name);
    }

    private static Supplier<SslContext> tls(Settings settings, MountedFiles files, boolean own) {
        if (own) {
            return files.follow(content -> context(authority(settings, content.get(0))), AUTHORITY);
        }
        SslContext usual = context();
        return () -> usual;
    }

    /** Trusts the JVM's certificate authorities if none are given. */
    private static SslContext context(X509Certificate... authority) {
        try {
            SslContextBuilder builder = SslContextBuilder.forClient().endpointIdentificationAlgorithm("HTTPS");
            return (authority.length == 0 ? builder : builder.trustManager(authority)).build();
        } catch (SSLException e) {
            throw new IllegalStateException(e);
        }
    }

    private static X509Certificate[] authority(Settings settings, byte[] pem) {
        try {
            X509Certificate[] certificates =
                    CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem)).stream()
                            .map(X509Certificate.class::cast)
                            .toArray(X509Certificate[]::new);
            if (certificates.length > 0) {
                return certificates;
            }
        } catch (CertificateException e) {
            // Refused below.
        }
        throw Settings.invalid(AUTHORITY, settings.text(AUTHORITY).orElse(""), "a file of PEM certificates");
    }

    /** Returns the value of the header {@code Authorization}, or null for none. */
    @Nullable
    String authorization() {
        return tokens == null ? null : "Bearer " + new String(tokens.get().get(0), StandardCharsets.US_ASCII);
    }

    /** Returns the TLS handler of a connection, or null for plain HTTP. */
    @Nullable
    SslHandler handler(ByteBufAllocator allocator, String host, int port) {
        return tls == null ? null : tls.get().newHandler(allocator, name == null ? host : name, port);
    }

    /** Returns why the TLS handshake failed, in words for the report. */
    static String reason(Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof NotSslRecordException) {
                return "does not speak TLS";
            } else if (cause instanceof CertificateException) {
                return "its certificate was rejected: " + PeerClient.printable(String.valueOf(cause.getMessage()));
            }
        }
        return "the TLS handshake failed: " + PeerClient.printable(String.valueOf(failure.getMessage()));
    }
}
