{{- /*
Names are fixed. The kinds are the cluster's, so a cluster has one operator; and proxies, which are declared outside of
this chart, find it by this name.
*/ -}}
{{- define "portreeve.name" -}}
portreeve-operator
{{- end }}

{{- define "portreeve.selector" -}}
app.kubernetes.io/name: portreeve
app.kubernetes.io/component: operator
{{- end }}

{{- define "portreeve.labels" -}}
{{ include "portreeve.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
