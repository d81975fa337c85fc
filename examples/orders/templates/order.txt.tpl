You have ordered: {{ item }}.
Our page: https://shop.example.org
