package io.counterset.app;

import io.counterset.CounterStore;
import io.counterset.CounterStoreException;
import io.counterset.StoreStatistics;
import io.counterset.k8s.Replica;
import io.micronaut.context.ApplicationContext;
import io.micronaut.http.server.exceptions.ServerStartupException;
import io.micronaut.runtime.graceful.GracefulShutdownManager;
import io.micronaut.runtime.server.EmbeddedServer;
import io.swagger.v3.oas.annotations.OpenAPIDefinition;
import io.swagger.v3.oas.annotations.info.Info;
import java.io.PrintStream;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Starts and stops the service. */
@OpenAPIDefinition(info = @Info(title = "Counterset", version = "0.1.0"))
public final class Application {

    /** How long requests that were accepted may take to finish once the process is told to stop. */
    private static final long FINISH_SECONDS = 3;

    /** After this the process ends, whatever still hangs: what was acknowledged is on the disk since then. */
    private static final long STOP_MILLIS = 4_500;

    private static final Logger LOG = LoggerFactory.getLogger(Application.class);

    private final ApplicationContext context;
    private final EmbeddedServer server;

    private Application(ApplicationContext context, EmbeddedServer server) {
        this.context = context;
        this.server = server;
    }

    /** Runs the service until the process is told to stop. */
    public static void main(String[] arguments) {
        Application application;
        try {
            application = start();
        } catch (Throwable failure) { // whatever it is, it ends the process
            complain(failure, System.err);
            System.exit(1);
            return;
        }
        application.stopWithProcess();
    }

    /** Opens the store, then takes the port. */
    private static Application start() {
        ApplicationContext context = ApplicationContext.builder()
                .deduceEnvironment(false)
                .banner(false)
                .build();
        boolean started = false;
        try {
            context.start();
            Application application = new Application(context, takePort(context));
            application.logStart();
            started = true;
            return application;
        } finally {
            if (!started) {
                context.close();
            }
        }
    }

    private static EmbeddedServer takePort(ApplicationContext context) {
        int port = context.getBean(CounterSettings.class).port();
        try {
            return context.getBean(EmbeddedServer.class).start();
        } catch (ServerStartupException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new IllegalArgumentException(
                    "micronaut.server.port: " + port + " cannot be used: " + cause.getMessage(), e);
        }
    }

    private void logStart() {
        CounterSettings settings = context.getBean(CounterSettings.class);
        Replica replica = context.getBean(Replica.class);
        CounterStore store = replica.store();
        StoreStatistics statistics = store.statistics();
        LOG.info(
                "serving port {}: instance {}, directory {}, counter {} = {}, store {}, incarnation {}, durability {},"
                        + " recovered in {} ms{}",
                server.getPort(),
                replica.instance(),
                settings.directory().toAbsolutePath(),
                replica.mainCounter(),
                store.counter(replica.mainCounter()).value(),
                store.identity().id(),
                store.identity().incarnation(),
                store.durability(),
                statistics.recoveryTime().toMillis(),
                statistics.discardedBatches() == 0 ? "" : " (dropping a torn batch, which was never acknowledged)");
    }

    private void stopWithProcess() {
        Runtime.getRuntime().addShutdownHook(new Thread(this::stopInTime, "stop"));
    }

    private void stopInTime() {
        Thread stopping = new Thread(this::stop, "stopping");
        stopping.setDaemon(true);
        stopping.start();
        try {
            stopping.join(STOP_MILLIS);
        } catch (InterruptedException e) {
            // Nobody interrupts this thread; were it so, the process would end now.
        }
        if (stopping.isAlive()) {
            LOG.warn(
                    "stopping took too long; what was acknowledged is safe, the rest may or may not have been counted");
            Runtime.getRuntime().halt(1);
        }
    }

    /** Takes no more requests, finishes those that were accepted, then commits and closes the store. */
    private void stop() {
        try {
            context.getBean(GracefulShutdownManager.class)
                    .shutdownGracefully()
                    .toCompletableFuture()
                    .get(FINISH_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            LOG.warn("some requests did not finish within {} s", FINISH_SECONDS);
        } catch (ExecutionException | InterruptedException e) {
            LOG.warn("finishing the accepted requests failed", e);
        }
        context.close();
        LOG.info("stopped");
    }

    /** Says in one line why the start failed; an unexpected failure brings its stack trace along. */
    private static void complain(Throwable failure, PrintStream out) {
        String expected = explain(failure);
        if (expected != null) {
            out.println("counterset: " + expected);
        } else {
            out.println("counterset: cannot start: " + failure);
            failure.printStackTrace(out);
        }
    }

    private static @Nullable String explain(Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof CounterStoreException || cause instanceof IllegalArgumentException) {
                return cause.getMessage();
            }
        }
        return null;
    }
}
