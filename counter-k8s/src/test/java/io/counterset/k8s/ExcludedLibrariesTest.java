// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.FakeApiServer.Event;
import io.counterset.k8s.PeersReport.Freshness;
import io.micronaut.context.ApplicationContext;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/**
 * Proves that the Kubernetes client does not need the libraries that the pom excludes. With the
 * credentials of a pod it lists and watches over TLS, and recovers from errors, on a class path
 * without them. The class loader notes every class that was looked up and not found.
 */
class ExcludedLibrariesTest {

    @TempDir
    static Path folder;

    private static final Set<String> EXCLUDED = new TreeSet<>();
    private static final Set<String> MISSED = Collections.synchronizedSet(new TreeSet<>());

    @BeforeAll
    static void live() throws Exception {
        Element pom = DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse("pom.xml")
                .getDocumentElement();
        NodeList exclusions = pom.getElementsByTagName("exclusion");
        for (int i = 0; i < exclusions.getLength(); i++) {
            EXCLUDED.add(((Element) exclusions.item(i))
                    .getElementsByTagName("artifactId")
                    .item(0)
                    .getTextContent());
        }
        List<URL> places = new ArrayList<>();
        for (String entry : System.getProperty("java.class.path").split(File.pathSeparator, -1)) {
            Path place = Path.of(entry);
            if (EXCLUDED.stream()
                    .noneMatch(name -> place.getFileName().toString().matches(name + "-[0-9].*"))) {
                places.add(place.toUri().toURL());
            }
        }
        assertThat(places).hasSizeGreaterThan(10);
        Thread thread = Thread.currentThread();
        ClassLoader usual = thread.getContextClassLoader();
        try (Without loader = new Without(places)) {
            thread.setContextClassLoader(loader);
            Method live = loader.loadClass(Life.class.getName()).getDeclaredMethod("live", Path.class);
            live.setAccessible(true);
            live.invoke(null, folder);
        } finally {
            thread.setContextClassLoader(usual);
        }
    }

    /** Loads every class except the JDK's itself, and notes those that it does not find. */
    private static final class Without extends URLClassLoader {

        Without(List<URL> places) {
            super(places.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
        }

        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            try {
                return super.findClass(name);
            } catch (ClassNotFoundException e) {
                MISSED.add(name);
                throw e;
            }
        }
    }

    /** The requests that a pod makes to the API server in its life. Loaded apart from this test. */
    static final class Life {

        private Life() {}

        static void live(Path folder) throws Exception {
            Path keys = folder.resolve("keys");
            Path authority = folder.resolve("ca.crt");
            keytool("-genkeypair -alias api -keyalg EC -dname CN=api -ext san=ip:127.0.0.1", keys);
            keytool("-exportcert -rfc -alias api -file " + authority, keys);
            try (FakeApiServer server = new FakeApiServer(folder, tls(keys));
                    CounterStore store = CounterStore.open(folder.resolve("store"));
                    ApplicationContext context = context(folder, server, authority, store)) {
                List<Event> recording = FakeApiServer.recording(UnaryOperator.identity());
                recording.stream().filter(event -> event.version() <= 464).forEach(server::apply);
                PeerSource source = context.start().getBean(PeerSource.class);
                awaitMembers(source, 3);
                server.failAll(503);
                server.endWatches();
                TestSettings.await(
                        () -> String.valueOf(now(source).source().reason()).contains("answered 503"));
                recording.stream()
                        .filter(event -> event.version() > 464 && event.version() <= 538)
                        .forEach(server::apply);
                server.compact(true);
                server.failAll(0);
                awaitMembers(source, 5);
                assertThat(server.complaints()).isEmpty();
            }
        }

        private static ApplicationContext context(Path folder, FakeApiServer server, Path authority, CounterStore store)
                throws IOException {
            Path kubeconfig = Files.writeString(folder.resolve("config"), """
                    apiVersion: v1
                    kind: Config
                    current-context: c
                    contexts: [{name: c, context: {cluster: k, user: u}}]
                    clusters: [{name: k, cluster: {server: "https://127.0.0.1:1"}}]
                    users: [{name: u, user: {client-certificate-data: bm9uZQ==, client-key-data: bm9uZQ==}}]
                    """);
            Map<String, Object> pod = new HashMap<>();
            pod.put("counter.peers.source", "kubernetes");
            pod.put("counter.peers.service", "app-python-headless");
            pod.put("counter.peers.directory", folder.toString());
            pod.put("counter.peers.refresh", "0s");
            pod.put("kubernetes.service.host", "127.0.0.1");
            pod.put("kubernetes.service.port", Integer.toString(server.port()));
            pod.put("kubernetes.client.ca-path", authority.toString());
            pod.put("kubernetes.client.token-path", server.token.toString());
            pod.put("kubernetes.client.namespace", "demo");
            pod.put("kubernetes.client.kube-config-path", kubeconfig.toString()); // never read
            ApplicationContext context = ApplicationContext.builder(pod).build();
            context.registerSingleton(new Replica("app-python-0", store, "visits", 8080));
            return context;
        }

        private static Membership now(PeerSource source) {
            return source.membership().toCompletableFuture().join();
        }

        private static void awaitMembers(PeerSource source, int number) {
            TestSettings.await(() -> now(source).source().state() == Freshness.LIVE
                    && now(source).members().size() == number);
        }

        private static void keytool(String arguments, Path keys) throws Exception {
            List<String> command = new ArrayList<>();
            command.add(
                    Path.of(System.getProperty("java.home"), "bin", "keytool").toString());
            command.addAll(List.of(arguments.split(" ")));
            command.addAll(List.of("-keystore", keys.toString(), "-storepass", "secret", "-storetype", "PKCS12"));
            Process process =
                    new ProcessBuilder(command).redirectErrorStream(true).start();
            String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(process.exitValue()).as(said).isZero();
        }

        private static SSLContext tls(Path keys) throws Exception {
            KeyStore store = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(keys)) {
                store.load(in, "secret".toCharArray());
            }
            KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            managers.init(store, "secret".toCharArray());
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(managers.getKeyManagers(), null, null);
            return context;
        }
    }

    /**
     * A library that has only annotations may be missing: the JVM ignores annotations whose class
     * it does not find.
     */
    @ParameterizedTest
    @CsvSource({
        "client-java-proto, io.kubernetes.client.proto., false",
        "protobuf-java, com.google.protobuf., false",
        "bcpkix-jdk18on, org.bouncycastle., false",
        "commons-compress, org.apache.commons.compress., false",
        "commons-io, org.apache.commons.io., false",
        "commons-codec, org.apache.commons.codec., false",
        "jose4j, org.jose4j., false",
        "jakarta.ws.rs-api, jakarta.ws.rs., false",
        "micronaut-inject-java, io.micronaut.annotation.processing., false",
        "swagger-annotations, io.swagger.annotations., true",
        "javax.annotation-api, javax.annotation., true",
        "jsr305, javax.annotation., true",
        "error_prone_annotations, com.google.errorprone.annotations., true"
    })
    void anExcludedLibraryIsNotNeeded(String library, String itsPackage, boolean annotationsOnly) {
        assertThat(EXCLUDED).contains(library);
        assertThat(MISSED)
                .filteredOn(name -> name.startsWith(itsPackage))
                .satisfies(names -> assertThat(annotationsOnly || names.isEmpty())
                        .as("%s", names)
                        .isTrue());
    }

    @Test
    void everyExclusionIsTried() {
        assertThat(EXCLUDED).hasSize(13);
        assertThat(MISSED).as("missing classes are noted").isNotEmpty();
    }
}
