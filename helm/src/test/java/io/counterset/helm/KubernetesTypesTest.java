// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The check against the API types detects the errors that it should. */
class KubernetesTypesTest {

    @ParameterizedTest
    @CsvSource({
        "StatefulSet, /spec, replicaCount, 3",
        "StatefulSet, /spec/template/spec/containers/0, volumeMount, []",
        "StatefulSet, /spec/template/spec/containers/0/readinessProbe/httpGet, uri, /",
        "StatefulSet, /spec/persistentVolumeClaimRetentionPolicy, whenUninstalled, Retain",
        "StatefulSet, /spec/volumeClaimTemplates/0/spec, storageClass, fast",
        "StatefulSet, /metadata, label, {}",
        "Service, /spec, sessionAfinity, None",
        "PodDisruptionBudget, /spec, maxUnavailabe, 1",
        "Role, /rules/0, resource, pods",
        "ServiceMonitor, /spec/endpoints/0, scrapeTimeOut, 1s",
        "PrometheusRule, /spec/groups/0/rules/0, annotation, {}",
        "HTTPRoute, /spec/rules/0/backendRefs/0, ports, 80",
    })
    void misspeltFieldsFail(String kind, String parent, String field, String value) throws Exception {
        for (KubernetesTypes types : new KubernetesTypes[] {KubernetesTypes.OLDEST, KubernetesTypes.NEWEST}) {
            ObjectNode object = object(kind, types.toString());
            ((ObjectNode) object.at(parent)).set(field, Chart.YAML.readTree(value));

            assertThatThrownBy(() -> types.check(object))
                    .isInstanceOf(AssertionError.class)
                    .hasMessageContaining("Unrecognized field \"" + field + "\"");
        }
    }

    @ParameterizedTest
    @CsvSource({
        "StatefulSet, /spec, replicas, three",
        "StatefulSet, /spec, serviceName, 3",
        "StatefulSet, /spec/template/spec/containers/0/env/0, value, 8080",
        "StatefulSet, /spec/template/spec/containers/0/env/0, value, true",
        "StatefulSet, /spec/template/metadata, labels, [a]",
        "Service, /spec/ports/0, port, '\"5000\"'",
        "Service, /spec, publishNotReadyAddresses, '\"true\"'",
    })
    void valuesOfAnotherTypeFail(String kind, String parent, String field, String value) throws Exception {
        ObjectNode object = object(kind, Chart.NEWEST_KUBERNETES);
        ((ObjectNode) object.at(parent)).set(field, Chart.YAML.readTree(value));

        assertThatThrownBy(() -> KubernetesTypes.NEWEST.check(object)).isInstanceOf(AssertionError.class);
    }

    @Test
    void unknownKindsFail() {
        ObjectNode object = object("StatefulSet", Chart.NEWEST_KUBERNETES).put("apiVersion", "apps/v1beta1");

        assertThatThrownBy(() -> KubernetesTypes.NEWEST.check(object))
                .isInstanceOf(AssertionError.class)
                .hasMessage("unknown kind: apps/v1beta1 StatefulSet");
    }

    @Test
    void aFieldNewerThanTheOldestKubernetesFailsOnlyThere() {
        ObjectNode object = object("Service", Chart.NEWEST_KUBERNETES);
        ((ObjectNode) object.at("/spec")).put("trafficDistribution", "PreferClose");

        assertThatCode(() -> KubernetesTypes.NEWEST.check(object)).doesNotThrowAnyException();
        assertThatThrownBy(() -> KubernetesTypes.OLDEST.check(object)).hasMessageContaining("trafficDistribution");
    }

    private static ObjectNode object(String kind, String kubernetes) {
        String values = """
                httpRoute: {enabled: true, parentRefs: [{name: gateway}]}
                serviceMonitor: {enabled: true}
                prometheusRule: {enabled: true}
                """;
        return (ObjectNode) Chart.render("app-python", values, kubernetes).get(kind, "app-python");
    }
}
