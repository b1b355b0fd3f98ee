// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.Config;
import io.kubernetes.client.util.credentials.TokenFileAuthentication;
import io.micronaut.context.annotation.Factory;
import io.micronaut.context.annotation.Requires;
import io.micronaut.context.env.Environment;
import io.micronaut.core.value.PropertyResolver;
import io.micronaut.kubernetes.client.ApiClientConfiguration;
import jakarta.inject.Singleton;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Creates the settings and the source of peers that they select. */
@Factory
final class PeersFactory {

    private static final Path RESOLV_CONF = Path.of("/etc/resolv.conf");
    private static final Path SERVICE_ACCOUNT = Path.of(Config.SERVICEACCOUNT_ROOT);
    private static final Path NAMESPACE = SERVICE_ACCOUNT.resolve("namespace");

    @Singleton
    Settings settings(Environment properties) {
        return new Settings(properties);
    }

    /**
     * Reads the files that settings name, so that an unusable file fails the start before anything
     * is written, as an invalid setting does.
     */
    @Singleton
    PeerAccess access(Settings settings, MountedFiles files) {
        return PeerAccess.from(
                settings, files, settings.text("counter.peers.service").orElse(null));
    }

    @Singleton
    PeersSettings peersSettings(Settings settings, PeerAccess access) {
        return PeersSettings.from(settings);
    }

    @Singleton
    @Requires(beans = Replica.class)
    PeerSource source(
            PeersSettings settings, Replica replica, PropertyResolver properties, ApiClientConfiguration kubernetes) {
        KubernetesSource.Access access = access(kubernetes, properties);
        return switch (settings.source()) {
            case STATIC -> new StaticSource(settings, replica.port(), null);
            case DNS -> dns(settings, replica, null);
            case KUBERNETES -> new KubernetesSource(settings, replica, access, Peers.CLOCK);
            case AUTO -> {
                String missing = access.missing();
                if (!settings.addresses().isEmpty()) {
                    yield new StaticSource(settings, replica.port(), "auto: counter.peers.addresses is set");
                } else if (settings.service() == null) {
                    yield new StaticSource(
                            settings,
                            replica.port(),
                            "auto: neither counter.peers.addresses nor counter.peers.service is set");
                } else if (!properties.containsProperty("kubernetes.service.host")) {
                    yield dns(settings, replica, "auto: not in a Kubernetes pod (no KUBERNETES_SERVICE_HOST)");
                } else if (missing != null) {
                    yield dns(settings, replica, "auto: " + missing);
                }
                yield new AutoSource(
                        new KubernetesSource(settings, replica, access, Peers.CLOCK), dns(settings, replica, null));
            }
        };
    }

    private static DnsSource dns(PeersSettings settings, Replica replica, @Nullable String chosen) {
        return new DnsSource(settings, replica, "dns:", RESOLV_CONF, Peers.CLOCK, chosen);
    }

    /**
     * Returns how a pod reaches the API server. No kubeconfig is read: its kinds of credentials
     * need libraries of 10 MB, and a machine outside the cluster cannot reach the pods' addresses
     * anyway.
     */
    private static KubernetesSource.Access access(ApiClientConfiguration configuration, PropertyResolver properties) {
        Path token = Path.of(configuration.getTokenPath().orElse(Config.SERVICEACCOUNT_TOKEN_PATH));
        return new KubernetesSource.Access(
                () -> builder(configuration, properties, token), namespace(configuration), token);
    }

    private static ClientBuilder builder(ApiClientConfiguration configuration, PropertyResolver properties, Path token)
            throws IOException {
        ClientBuilder builder = new ClientBuilder()
                .setBasePath(configuration.getBasePath().orElseGet(() -> server(properties)))
                .setVerifyingSsl(configuration.getVerifySsl())
                .setAuthentication(new TokenFileAuthentication(token.toString()));
        Path authority = Path.of(configuration.getCaPath().orElse(Config.SERVICEACCOUNT_CA_PATH));
        if (configuration.getCaPath().isPresent() || Files.exists(authority)) {
            builder.setCertificateAuthority(Files.readAllBytes(authority));
        }
        return builder;
    }

    private static String server(PropertyResolver properties) {
        String host =
                properties.getProperty("kubernetes.service.host", String.class).orElse("kubernetes.default.svc");
        String port =
                properties.getProperty("kubernetes.service.port", String.class).orElse("443");
        return "https://" + (host.contains(":") && !host.startsWith("[") ? "[" + host + "]" : host) + ":" + port;
    }

    private static String namespace(ApiClientConfiguration configuration) {
        return configuration.getNamespace().or(PeersFactory::podNamespace).orElse("default");
    }

    /** Returns the namespace of this pod; empty outside a pod. */
    static Optional<String> podNamespace() {
        try {
            return Optional.of(Files.readString(NAMESPACE).strip()).filter(namespace -> !namespace.isEmpty());
        } catch (IOException e) {
            return Optional.empty();
        }
    }
}
