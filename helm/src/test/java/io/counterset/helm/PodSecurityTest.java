// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The pods pass the restricted profile, and a violation of each of its rules is detected. */
class PodSecurityTest {

    private static final Chart.Objects DEFAULTS = Chart.render("app-python", "");

    @ParameterizedTest
    @ValueSource(strings = {"/spec/template", ""})
    void theDefaultsPass(String pod) {
        assertThat(PodSecurity.violations(pod(pod))).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "HostProcess                   | /spec/securityContext              | windowsOptions: {hostProcess: true}",
                "Host Namespaces               | /spec                              | hostNetwork: true",
                "Host Namespaces               | /spec                              | hostPID: true",
                "Host Namespaces               | /spec                              | hostIPC: true",
                "Privileged Containers         | /spec/containers/0/securityContext | privileged: true",
                "Capabilities                  | /spec/containers/0/securityContext | capabilities: {drop: [ALL], add: [NET_ADMIN]}",
                "Capabilities                  | /spec/containers/0/securityContext | capabilities: {drop: [NET_RAW]}",
                "HostPath Volumes,Volume Types | /spec/volumes/0                    | hostPath: {path: /}",
                "Host Ports                    | /spec/containers/0                 | ports: [{containerPort: 8080, hostPort: 80}]",
                "Host Probes / Lifecycle Hooks | /spec/containers/0                 | livenessProbe: {httpGet: {host: 10.0.0.1}}",
                "AppArmor                      | /spec/securityContext              | appArmorProfile: {type: Unconfined}",
                "SELinux                       | /spec/securityContext              | seLinuxOptions: {type: spc_t}",
                "SELinux                       | /spec/containers/0/securityContext | seLinuxOptions: {user: root}",
                "/proc Mount Type              | /spec/containers/0/securityContext | procMount: Unmasked",
                "Sysctls                       | /spec/securityContext              | sysctls: [{name: kernel.msgmax, value: '1'}]",
                "Volume Types                  | /spec/volumes/0                    | nfs: {server: a, path: /}",
                "Privilege Escalation          | /spec/containers/0/securityContext | allowPrivilegeEscalation: true",
                "Privilege Escalation          | /spec/containers/0/securityContext | allowPrivilegeEscalation:",
                "Running as Non-root           | /spec/securityContext              | runAsNonRoot: false",
                "Running as Non-root           | /spec/containers/0/securityContext | runAsNonRoot: false",
                "Running as Non-root user      | /spec/securityContext              | runAsUser: 0",
                "Running as Non-root user      | /spec/containers/0/securityContext | runAsUser: 0",
                "Seccomp                       | /spec/securityContext              | seccompProfile: {type: Unconfined}",
                "Seccomp                       | /spec/containers/0/securityContext | seccompProfile: {type: Unconfined}",
            })
    void everyBrokenRuleIsDetected(String rules, String parent, String change) throws Exception {
        JsonNode pod = pod("/spec/template");
        ObjectNode target = (ObjectNode) pod.at(parent);
        JsonNode changed = Chart.YAML.readTree(change);
        changed.properties().forEach(e -> {
            if (e.getValue().isNull()) {
                target.remove(e.getKey());
            } else {
                target.set(e.getKey(), e.getValue());
            }
        });

        assertThat(PodSecurity.violations(pod)).containsExactlyInAnyOrder(rules.split(","));
    }

    @ParameterizedTest
    @ValueSource(strings = {"containers", "initContainers", "ephemeralContainers"})
    void everyContainerIsChecked(String list) throws Exception {
        JsonNode pod = pod("/spec/template");
        ObjectNode spec = (ObjectNode) pod.path("spec");
        ArrayNode containers = spec.has(list) ? (ArrayNode) spec.path(list) : spec.putArray(list);
        containers.add(Chart.YAML.readTree("{name: careless, image: any}"));

        assertThat(PodSecurity.violations(pod)).containsExactlyInAnyOrder("Capabilities", "Privilege Escalation");
    }

    private static JsonNode pod(String template) {
        JsonNode pod = template.isEmpty()
                ? DEFAULTS.get("Pod", "app-python-test")
                : DEFAULTS.statefulSet().at(template);
        return pod.deepCopy();
    }
}
