// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.context.ApplicationContext;
import io.micronaut.runtime.server.EmbeddedServer;
import io.micronaut.test.support.TestPropertyProvider;
import jakarta.inject.Inject;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/**
 * A test class whose tests share one service with a folder of its own. Subclasses are also
 * annotated with {@code @MicronautTest}.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
abstract class ServiceTest implements TestPropertyProvider {

    @TempDir
    static Path folder;

    @Inject
    ApplicationContext context;

    @Inject
    EmbeddedServer server;

    Service service;

    @BeforeAll
    void find() {
        service = new Service(context, server);
    }

    @Override
    public Map<String, String> getProperties() {
        return Service.settings(folder);
    }
}
