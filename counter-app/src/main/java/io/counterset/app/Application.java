// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.CounterStore;
import io.counterset.CounterStoreException;
import io.counterset.StoreStatistics;
import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersSettings;
import io.counterset.k8s.Replica;
import io.counterset.k8s.Settings;
import io.micrometer.core.instrument.MeterRegistry;
import io.micronaut.context.ApplicationContext;
import io.micronaut.http.server.exceptions.ServerStartupException;
import io.micronaut.runtime.graceful.GracefulShutdownManager;
import io.micronaut.runtime.server.EmbeddedServer;
import io.swagger.v3.oas.annotations.OpenAPIDefinition;
import io.swagger.v3.oas.annotations.info.Info;
import io.swagger.v3.oas.annotations.servers.Server;
import java.io.PrintStream;
import java.net.BindException;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Starts and stops the service. */
@OpenAPIDefinition(info = @Info(title = "Counterset", version = "0.1.0"), servers = @Server(url = "."))
public final class Application {

    /** How long connections may take to drain once the process is asked to stop. */
    private static final Duration DRAIN = Duration.ofSeconds(1);

    /** How long peers may take to learn the final counts. */
    private static final Duration FAREWELL = Duration.ofSeconds(1);

    /** How long requests that were accepted may take to finish after that. */
    private static final long FINISH_SECONDS = 2;

    /**
     * The process ends after this time even if something still hangs. Acknowledged increments are
     * durable by then.
     */
    private static final long STOP_MILLIS = 4_500;

    private static final Logger LOG = LoggerFactory.getLogger(Application.class);

    private final ApplicationContext context;
    private final EmbeddedServer server;

    private Application(ApplicationContext context, EmbeddedServer server) {
        this.context = context;
        this.server = server;
    }

    static final String HELP = """
            Counterset: durable counters over HTTP.

            java -jar counter-app.jar             serves http://localhost:8080 until it is stopped
            java -jar counter-app.jar %s
                                                  checks a running service from outside
            java -jar counter-app.jar %s
                                                  restores a replica's lost counts from what a peer remembers
            java -jar counter-app.jar %s
                                                  makes a replica forget what it remembers of a peer
            java -jar counter-app.jar --version   prints the version
            java -jar counter-app.jar --help      prints this

            Settings are environment variables:
              COUNTER_DIRECTORY             directory of the counts                         data
              COUNTER_NAME                  the main counter, to which / adds              visits
              COUNTER_INSTANCE              this replica's name                             the host name
              COUNTER_DURABILITY            sync, or a period such as 100ms                 sync
              COUNTER_MAX_PENDING           increments that may wait for the disk           4096
              COUNTER_MAX_CONNECTIONS       connections that may be open                    4096
              COUNTER_CREATE                counters that clients may create, or a list     1000
              COUNTER_MAX_AMOUNT            the largest amount of one request               1000000
              COUNTER_IDEMPOTENCY_MAX_KEYS  idempotency keys to remember                    100000
              COUNTER_IDEMPOTENCY_MAX_AGE   how long to remember a key                      24h
              COUNTER_METRICS_COUNTERS      counters to export as metrics                   the main counter
              COUNTER_COUNT_FILE_AHEAD      if count.txt is ahead: refuse, journal or file  refuse
              COUNTER_PEERS_SOURCE          auto, kubernetes, dns or static                 auto
              COUNTER_PEERS_ADDRESSES       the replicas, for static                        this one only
              COUNTER_PEERS_SERVICE         the headless service, for kubernetes and dns
              COUNTER_PEERS_EXPECTED        the expected number of replicas, for dns and static
              COUNTER_PEERS_...             more settings of peers: docs/peers.md
              COUNTER_TOKENS_WRITE          file of tokens that may add, one per line       no token needed
              COUNTER_TOKENS_READ           file of tokens that may read                    no token needed
              COUNTER_TOKENS_PEERS          file of the replicas' own tokens
              COUNTER_TLS_CERTIFICATE       certificate file, PEM                           plain HTTP
              COUNTER_TLS_KEY               private key file, PEM
              COUNTER_TLS_AUTHORITY         file of the peers' authorities, PEM             those of the JVM
              COUNTER_TLS_PEER_NAME         the name in peers' certificates                 COUNTER_PEERS_SERVICE
              COUNTER_RATE_LIMIT            requests per second from one address            unlimited
              COUNTER_RATE_BURST            requests in one burst                           twice the limit
              COUNTER_RATE_ADDRESS          socket, forwarded or x-forwarded-for            socket
              COUNTER_MANAGEMENT_PORT       port of health and metrics                      the main port
              COUNTER_LOG_FORMAT            text or json                                    text
              COUNTER_LOG_LEVEL             error, warn, info, debug or trace               info
              MICRONAUT_SERVER_HOST         the address to listen on                        all
              MICRONAUT_SERVER_PORT         the port, 0 for any free one                    8080
            """.formatted(Check.USAGE, Restore.USAGE, Restore.FORGET_USAGE);

    /** Runs the service until the process is stopped, or the command that the arguments name. */
    public static void main(String[] arguments) {
        switch (arguments.length == 0 ? "" : arguments[0]) {
            case "" -> serve();
            case "--help", "-h" -> System.out.print(HELP);
            case "--version" -> System.out.println("counterset " + version());
            case "restore", "forget" -> System.exit(Restore.run(arguments, System.getenv(), System.out, System.err));
            case "check" -> System.exit(Check.run(arguments, System.out, System.err));
            default -> {
                System.err.println("counterset: unknown argument '" + arguments[0] + "'; --help lists the commands");
                System.exit(2);
            }
        }
    }

    /** Returns the version in the jar's manifest. */
    static String version() {
        String version = Application.class.getPackage().getImplementationVersion();
        return version == null ? "unpackaged" : version;
    }

    private static void serve() {
        Application application;
        try {
            CounterSettings.LOG_FORMAT.check();
            CounterSettings.LOG_LEVEL.check();
            application = start();
        } catch (Throwable failure) { // any failure ends the process
            complain(failure, System.err);
            System.exit(1);
            return;
        }
        application.stopWithProcess();
    }

    /** Opens the store, then binds the port. */
    private static Application start() {
        ApplicationContext context = ApplicationContext.builder()
                .deduceEnvironment(false)
                .banner(false)
                .environmentVariableExcludes(frameworkVariables())
                .build();
        boolean started = false;
        try {
            context.start();
            context.getBean(Settings.class)
                    .unknown(
                            System.getenv().keySet(),
                            Settings.variable(CounterSettings.LOG_FORMAT.name()),
                            Settings.variable(CounterSettings.LOG_LEVEL.name()))
                    .forEach(LOG::warn);
            Application application = new Application(context, takePort(context));
            application.logStart();
            context.getBean(MeterRegistry.class); // fills it; deferred until now, because no request waits for it
            started = true;
            return application;
        } finally {
            if (!started) {
                context.close();
            }
        }
    }

    /**
     * Checks the variables that Micronaut itself reads, and returns the blank ones, which are
     * treated as unset.
     *
     * @throws IllegalArgumentException if a value contains a placeholder or could not be decoded
     */
    private static String[] frameworkVariables() {
        return System.getenv().entrySet().stream()
                .filter(variable -> variable.getKey().startsWith("MICRONAUT_")
                        || variable.getKey().startsWith("ENDPOINTS_"))
                .peek(variable -> Settings.checkText(variable.getKey(), variable.getValue()))
                .filter(variable -> variable.getValue().isBlank())
                .map(Map.Entry::getKey)
                .toArray(String[]::new);
    }

    private static EmbeddedServer takePort(ApplicationContext context) {
        int port = context.getBean(CounterSettings.class).port();
        int management = context.getBean(CounterSettings.class).managementPort();
        String host = context.getProperty("micronaut.server.host", String.class)
                .orElse(""); // read now, because it is gone after a failed start
        try {
            return context.getBean(EmbeddedServer.class).start();
        } catch (ServerStartupException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            boolean taken = cause instanceof BindException
                    && String.valueOf(cause.getMessage()).contains("in use");
            if (taken && management > 0 && String.valueOf(e.getMessage()).endsWith(":" + management)) {
                throw new IllegalArgumentException(
                        CounterSettings.MANAGEMENT_PORT + ": " + management + " cannot be used: " + cause.getMessage(),
                        e);
            }
            throw new IllegalArgumentException(
                    host.isEmpty() || taken
                            ? "micronaut.server.port: " + port + " cannot be used: " + cause.getMessage()
                            : "micronaut.server.host: '" + host + "' cannot be used: " + cause
                                    + "; expected an address of this machine",
                    e);
        }
    }

    private void logStart() {
        CounterSettings settings = context.getBean(CounterSettings.class);
        Replica replica = context.getBean(Replica.class);
        CounterStore store = replica.store();
        StoreStatistics statistics = store.statistics();
        LOG.info(
                "serving port {}: instance {}, directory {}, counter {} = {}, store {}, incarnation {}, durability {},"
                        + " peers {}, recovered in {} ms{}",
                server.getPort(),
                replica.instance(),
                settings.directory().toAbsolutePath(),
                replica.mainCounter(),
                store.counter(replica.mainCounter()).value(),
                store.identity().id(),
                store.identity().incarnation(),
                store.durability(),
                context.getBean(PeersSettings.class).source().name().toLowerCase(Locale.ROOT),
                statistics.recoveryTime().toMillis(),
                statistics.discardedBatches() == 0 ? "" : " (dropping a torn batch, which was never acknowledged)");
    }

    private void stopWithProcess() {
        try {
            Runtime.getRuntime().addShutdownHook(new Thread(this::stopInTime, "stop"));
        } catch (IllegalStateException e) {
            // It was asked to stop while it started, and ends before it has served any request.
        }
    }

    private void stopInTime() {
        Thread stopping = new Thread(this::stop, "stopping");
        stopping.setDaemon(true);
        stopping.start();
        try {
            stopping.join(STOP_MILLIS);
        } catch (InterruptedException e) {
            // This thread is never interrupted. If it were, the process would end now.
        }
        if (stopping.isAlive()) {
            LOG.warn(
                    "stopping took too long; acknowledged increments are safe, others may or may not have been counted");
            Runtime.getRuntime().halt(1);
        }
    }

    /**
     * Drains the connections, seals the store, tells the peers its final counts, then finishes the
     * accepted requests.
     */
    private void stop() {
        try {
            context.getBean(Connections.class).drain(DRAIN);
            bidFarewell();
            context.getBean(GracefulShutdownManager.class)
                    .shutdownGracefully()
                    .toCompletableFuture()
                    .get(FINISH_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            LOG.warn("some requests did not finish within {} s", FINISH_SECONDS);
        } catch (ExecutionException | InterruptedException e) {
            LOG.warn("finishing the accepted requests failed", e);
        }
        boolean failed = context.getBean(CounterStore.class).failure().isPresent();
        context.close();
        LOG.info(failed ? "stopped; the store had failed" : "stopped");
    }

    /** Seals the store and tells the peers its final counts while they are still served. */
    private void bidFarewell() throws InterruptedException {
        try {
            context.getBean(Replica.class).seal();
            context.getBean(Peers.class)
                    .bidFarewell()
                    .toCompletableFuture()
                    .get(FAREWELL.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            LOG.debug("not every peer has heard the farewell within {} ms", FAREWELL.toMillis());
        } catch (ExecutionException | RuntimeException e) {
            LOG.warn("could not tell the peers the final counts of this replica", e);
        }
    }

    /**
     * Prints one line that says why the start failed, and the stack trace if the failure was
     * unexpected.
     */
    private static void complain(Throwable failure, PrintStream out) {
        String expected = explain(failure);
        if (expected != null) {
            out.println("counterset: " + expected);
        } else {
            out.println("counterset: cannot start: " + failure);
            failure.printStackTrace(out);
        }
    }

    /** Micronaut's message about a setting whose value has the wrong type. */
    private static final Pattern UNCONVERTIBLE = Pattern.compile(
            "property value \\[(?<name>[^]]+)]\\. Unable to convert value \\[(?<value>.*)] to target type \\[(?<type>\\w+)]");

    private static @Nullable String explain(Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof CounterStoreException || cause instanceof IllegalArgumentException) {
                return cause.getMessage();
            }
            Matcher conversion = UNCONVERTIBLE.matcher(String.valueOf(cause.getMessage()));
            if (conversion.find()) {
                return Settings.invalid(
                                conversion.group("name"),
                                conversion.group("value"),
                                "a value of type " + conversion.group("type"))
                        .getMessage();
            }
        }
        return null;
    }
}
