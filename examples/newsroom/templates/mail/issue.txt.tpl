{{ issue.title }}

{{ issue.text }}
{% if picture %}
The picture{% if issue.description %} ({{ issue.description }}){% endif %}: {{ picture }}
{% endif %}
-- 
{{ title }}. To leave: {{ leave }}
