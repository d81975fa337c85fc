<article>
  <h1>{{ issue.title }}</h1>
  {%- if issue.picture %}
  <img src="{{ url_for('issues.picture', id=issue.id) }}" alt="{{ issue.description }}">
  {%- endif %}
  {%- for paragraph in issue.text.split("\n\n") %}
  <p>{{ paragraph }}</p>
  {%- endfor %}
</article>
