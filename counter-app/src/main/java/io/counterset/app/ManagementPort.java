// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.context.event.BeanCreatedEvent;
import io.micronaut.context.event.BeanCreatedEventListener;
import io.micronaut.management.endpoint.EndpointDefaultConfiguration;
import jakarta.inject.Singleton;

/** Moves health and metrics to a separate port, if one is set. */
@Singleton
final class ManagementPort implements BeanCreatedEventListener<EndpointDefaultConfiguration> {

    private final int port;

    ManagementPort(CounterSettings settings) {
        this.port = settings.managementPort();
    }

    @Override
    public EndpointDefaultConfiguration onCreated(BeanCreatedEvent<EndpointDefaultConfiguration> event) {
        if (port > 0) {
            event.getBean().setPort(port);
        }
        return event.getBean();
    }
}
