// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.MountedFiles;
import io.counterset.k8s.Settings;
import io.micronaut.context.annotation.Requires;
import io.micronaut.core.io.ResourceResolver;
import io.micronaut.http.HttpVersion;
import io.micronaut.http.ssl.SslBuilder;
import io.micronaut.http.ssl.SslConfiguration;
import io.netty.buffer.ByteBufAllocator;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslHandler;
import jakarta.inject.Singleton;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.time.Instant;
import java.util.Collections;
import java.util.Optional;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;

/**
 * TLS for the server's port, with a certificate and a key from mounted files. The files may be
 * replaced while the server runs; new connections use the new content. The framework's parser reads
 * the files. The framework's own reloading provider is not used: it misses a Secret that is
 * replaced by switching a symbolic link, and accepts a key that does not belong to the certificate.
 * Thread-safe.
 */
@Singleton
@Requires(property = ServerTls.CERTIFICATE, pattern = ".*\\S.*")
final class ServerTls {

    static final String CERTIFICATE = "counter.tls.certificate";
    static final String KEY = "counter.tls.key";

    private final Supplier<Loaded> loaded;

    /**
     * @throws IllegalArgumentException if a file cannot be used, or if the key belongs to another
     *     certificate
     */
    ServerTls(Settings settings, MountedFiles files, ResourceResolver resources) {
        String certificate = settings.text(CERTIFICATE).orElse("");
        String key = settings.text(KEY).orElse("");
        Loader loader = new Loader(resources, certificate, key);
        loaded = files.follow(contents -> loader.load(), CERTIFICATE, KEY);
    }

    /** The content of the files. */
    private record Loaded(SslContext context, Instant expires) {}

    /** Returns when the certificate in use expires. */
    Instant expires() {
        return loaded.get().expires();
    }

    /** Returns the TLS handler of a new connection. */
    SslHandler handler(ByteBufAllocator allocator) {
        return loaded.get().context().newHandler(allocator);
    }

    /**
     * Reads PEM with the framework's parser: a certificate chain, and a key in PKCS #8, PKCS #1 or
     * SEC 1.
     */
    private static final class Loader extends SslBuilder<SslContext> {

        private static final byte[] PROBE = {1, 2, 3};

        private final SslConfiguration configuration = new SslConfiguration();
        private final String certificatePath;
        private final String keyPath;

        Loader(ResourceResolver resources, String certificatePath, String keyPath) {
            super(resources);
            this.certificatePath = certificatePath;
            this.keyPath = keyPath;
            configuration.getKeyStore().setCertificatePath("file:" + certificatePath);
            configuration.getKeyStore().setKeyPath("file:" + keyPath);
        }

        @Override
        public Optional<SslContext> build(SslConfiguration ssl) {
            try {
                return Optional.of(SslContextBuilder.forServer(getKeyManagerFactory(ssl))
                        .protocols("TLSv1.3", "TLSv1.2")
                        .build());
            } catch (SSLException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public Optional<SslContext> build(SslConfiguration ssl, HttpVersion httpVersion) {
            return build(ssl);
        }

        Loaded load() {
            KeyStore store;
            SslContext context;
            try {
                store = getKeyStore(configuration).orElseThrow();
                context = build(configuration).orElseThrow();
            } catch (Exception e) { // any problem with the files
                throw Settings.invalid(
                        CERTIFICATE,
                        certificatePath,
                        "a PEM certificate chain, and in " + KEY + " its private key in PEM without a password");
            }
            try {
                String alias = Collections.list(store.aliases()).get(0);
                if (store.getCertificate(alias) instanceof X509Certificate certificate
                        && store.getKey(alias, null) instanceof PrivateKey key
                        && isPair(certificate, key)) {
                    return new Loaded(context, certificate.getNotAfter().toInstant());
                }
            } catch (GeneralSecurityException e) {
                // Refused below.
            }
            throw Settings.invalid(KEY, keyPath, "the private key of the certificate in " + CERTIFICATE);
        }

        private static boolean isPair(Certificate certificate, PrivateKey key) throws GeneralSecurityException {
            String algorithm = switch (key.getAlgorithm()) {
                case "RSA" -> "SHA256withRSA";
                case "EC" -> "SHA256withECDSA";
                default -> key.getAlgorithm();
            };
            Signature signature = Signature.getInstance(algorithm);
            signature.initSign(key);
            signature.update(PROBE);
            byte[] signed = signature.sign();
            signature.initVerify(certificate.getPublicKey());
            signature.update(PROBE);
            return signature.verify(signed);
        }
    }
}
